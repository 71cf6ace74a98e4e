"""The table of verbs: what an intent may ask for, who may ask, and which process carries it out.

A new verb takes three places: its arguments and its row in this package's module of its noun, its
handler in `engine/control/<noun>.py` (declared with `handlers.handles`), its command in
`app/commands/<noun>.py`. The control socket checks every intent against this table; screens and
help read it. Never acts. Imported by clients of the control socket and by the processes behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from storage.control_socket.verbs import (
    ab_tests,
    alerts,
    box,
    budgets,
    deployments,
    drills,
    incidents,
    jobs,
    keys,
    knobs,
    manifests,
    models,
    prices,
    prompts,
    quarantine,
    releases,
    replays,
    rollouts,
    runbooks,
    scoring,
    services,
    upstreams,
)
from storage.control_socket.verbs.verb import Danger, NoArguments, Process, Verb, Why
from storage.errors import BadArguments

__all__ = [
    "TABLE",
    "BadArguments",
    "Danger",
    "NoArguments",
    "Process",
    "Verb",
    "Why",
    "ab_tests",
    "alerts",
    "box",
    "budgets",
    "carried_out_by",
    "check",
    "deployments",
    "drills",
    "incidents",
    "jobs",
    "keys",
    "knobs",
    "manifests",
    "models",
    "parse",
    "prices",
    "prompts",
    "quarantine",
    "releases",
    "replays",
    "rollouts",
    "runbooks",
    "scoring",
    "services",
    "upstreams",
]

TABLE: Final[Mapping[str, Verb]] = MappingProxyType(
    {
        verb.name: verb
        for noun in (
            models,
            prompts,
            releases,
            deployments,
            services,
            manifests,
            box,
            rollouts,
            ab_tests,
            replays,
            keys,
            prices,
            budgets,
            scoring,
            knobs,
            quarantine,
            upstreams,
            jobs,
            runbooks,
            drills,
            incidents,
            alerts,
        )
        for verb in noun.ROWS
    }
)


def carried_out_by(process: Process) -> frozenset[str]:
    """The names of the verbs that a process claims."""
    return frozenset(verb.name for verb in TABLE.values() if verb.process is process)


def check(verb: Verb, *, target: str, confirm: str, reason: str) -> None:
    """Prove that an intent was confirmed and explained as its verb demands.

    Raises:
        BadArguments: with what is missing.
    """
    if verb.danger is Danger.HARD and confirm != target:
        raise BadArguments(
            f"{verb.name} is hard to reverse; confirm it with the target's name, {target!r}."
        )
    if verb.why is Why.REQUIRED and not reason.strip():
        raise BadArguments(f"{verb.name} needs a reason; say why.")


def parse(name: str, raw: Mapping[str, Any]) -> Any:
    """The arguments of a verb as its struct.

    Raises:
        BadArguments: there is no such verb, or a field does not fit; the message names it.
    """
    verb = TABLE.get(name)
    if verb is None:
        raise BadArguments(f"There is no verb {name!r}; known: {', '.join(TABLE)}.")
    try:
        return msgspec.convert(dict(raw), verb.arguments)
    except msgspec.ValidationError as error:
        what, *places = str(error).split(" - at `")  # the inner place first
        parts = (each.removesuffix("`").removeprefix("$").removeprefix(".") for each in places)
        field = ".".join(each for each in reversed([*parts]) if each)
        raise BadArguments(f"{name}: {field}: {what}." if field else f"{name}: {what}.") from error
