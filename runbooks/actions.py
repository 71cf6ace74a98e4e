"""The actions of steps: intents on behalf of the person who drives the run.

A step asks under its own idempotency key and with the version that it saw, so it acts once
however often the runner is killed or an answer is lost. Imported by `runbooks.runner`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from runbooks import steps, values
from runbooks.values import Value
from storage import errors, knobs, prompts, services
from storage.control_socket import client
from storage.home.paths import Home
from storage.runs import Run
from storage.store import Session

_ATTEMPTS: Final = 5
_AGAIN_S: Final = 1.0


async def version(s: Session, run: Run, do: steps.Do) -> int | None:
    """The version of what an action changes, as its noun counts it; None where it has none.

    A service has a version, a knob the id of its newest setting, a label the number that it points
    at; 0 means that there was none.
    """
    target = values.filled(do.target, run.inputs)
    match do.verb.partition(".")[0]:
        case "services":
            with contextlib.suppress(errors.NotFound):
                return (await services.find(s, target)).version
        case "knobs":
            newest = await knobs.current(s, target, _named(do, "name", run))
            return 0 if newest is None else newest.id
        case "prompts" if "label" in do.arguments:
            return (await prompts.labels(s, target)).get(_named(do, "label", run), 0)
    return None


def _named(do: steps.Do, argument: str, run: Run) -> str:
    """An argument of an action that is a name, filled in."""
    return values.filled(str(do.arguments.get(argument)), run.inputs)


async def ask(
    home: Home,
    run: Run,
    step: str,
    do: steps.Do,
    *,
    why: str,
    expected_version: int | None,
    seen: Mapping[str, Value],
) -> int:
    """Ask for a step's action; the id of its intent, stored now or by an earlier attempt.

    `why` is the reason that the person gave.

    Raises:
        StorageError: the node refused it or could not be reached.
    """
    key = f"run {run.id}, step {step}"
    by = f"runbook {run.runbook}, {key}"
    attempt = 0
    while True:
        try:
            accepted = await client.ask(
                home,
                do.verb,
                values.filled(do.target, run.inputs),
                values.arguments(do, run.inputs, seen),
                reason=f"{why} ({by})" if why else by,
                expected_version=expected_version,
                on_behalf_of=run.driver or run.intent_id,
                idempotency_key=key,
                confirm=values.filled(do.confirm, run.inputs),
            )
        except (errors.NodeIsDown, errors.Unanswered, errors.Unavailable):
            attempt += 1
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(_AGAIN_S)
        else:
            return accepted.intent_id
