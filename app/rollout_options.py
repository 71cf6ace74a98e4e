"""What a person types of a rollout, or keeps in a TOML file, as the arguments of its verbs.

Reads no store and asks nothing. Imported by `app.commands` and
`app.screens.starting`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from app import errors
from storage import rollout_guards, rollout_policies, rollout_steps, rollout_syntax
from storage.errors import Invalid
from storage.rollout_policies import Policy
from storage.rollout_steps import Strategy

_ASKED: Final = "Ask this webhook {} each weight: 'https://host/path [10m] [abort]'."


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The options of `rollouts start` and `plan`; a TOML file has the same names, except `file`."""

    to: Annotated[str | None, typer.Option("--to", help="The candidate: r2")] = None
    strategy: Annotated[
        Strategy | None, typer.Option("--strategy", help="By default the policy's, else canary.")
    ] = None
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps",
            help="'5, 50, 100': percent, pause [10m], analysis [30m], mirror 10%, webhook URL.",
        ),
    ] = None
    then: Annotated[
        Strategy | None,
        typer.Option("--then", help="What a shadow continues as once it has passed: canary."),
    ] = None
    guards: Annotated[
        list[str] | None,
        typer.Option(
            "--guard",
            help="latency_p95<=2s, error_rate<=1%, finished>=95%, agreement>=80%; repeatable.",
        ),
    ] = None
    ask_before: Annotated[
        str | None, typer.Option("--ask-before", metavar="URL", help=_ASKED.format("before"))
    ] = None
    ask_after: Annotated[
        str | None, typer.Option("--ask-after", metavar="URL", help=_ASKED.format("after"))
    ] = None
    notify: Annotated[
        list[str] | None,
        typer.Option(
            "--notify", metavar="URL", help="Send a message at each pause and end; repeatable."
        ),
    ] = None
    load_timeout: Annotated[
        str | None, typer.Option("--load-timeout", help="How long it may load: 30m.")
    ] = None
    rollback_window: Annotated[
        str | None,
        typer.Option("--rollback-window", help="How long the way back stays loaded: 1h."),
    ] = None
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="TOML with the same names; options win.")
    ] = None


_NAMES: Final = tuple(each.name for each in dataclasses.fields(Typed) if each.name != "file")


def arguments(typed: Typed, usual: Policy | None = None) -> dict[str, Any]:
    """The arguments of `rollouts.start` and `rollouts.plan`; options win over the file.

    What neither says is as in `usual`, the policy of the service.

    Raises:
        errors.BadWord: something is missing, or not understood.
    """
    given: dict[str, Any] = {} if typed.file is None else _read(typed.file)
    said = {name: getattr(typed, name) for name in _NAMES}
    given |= {name: value for name, value in said.items() if value not in (None, [])}
    if typed.steps is not None:
        given["steps"] = typed.steps.split(",")
    if not given.get("to"):
        raise errors.BadWord("Name the candidate with --to: r2")
    found, by_policy = rollout_policies.resolved(usual, _parsed(given))
    wanted = _asking(given, msgspec.to_builtins(found))
    if by_policy and wanted.get("steps") == msgspec.to_builtins(found["steps"]):
        wanted["by_policy"] = True
    return {"release": given["to"], **wanted}


def policy(given: Mapping[str, Any]) -> dict[str, Any]:
    """How a release comes to the traffic, of what was typed or read of a file.

    Raises:
        errors.BadWord: something is not understood.
    """
    return _asking(given, _parsed(given))


def _parsed(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed as the fields of a policy, apart from the webhooks beside its weights."""
    arguments: dict[str, Any] = {}
    try:
        if "strategy" in given:
            arguments["strategy"] = str(given["strategy"]).replace("-", "_")
        if (steps := _steps(given)) is not None:
            arguments["steps"] = msgspec.to_builtins(steps)
        if "notify" in given:
            arguments["notify"] = _addresses(given["notify"])
        if "guards" in given:
            guards = tuple(rollout_syntax.parse_guard(str(each)) for each in given["guards"])
            arguments["guards"] = msgspec.to_builtins(guards)
        for name in ("load_timeout", "rollback_window"):
            if name in given:
                arguments[f"{name}_s"] = rollout_syntax.parse_duration(str(given[name]))
    except Invalid as error:
        raise errors.BadWord(str(error)) from error
    return arguments


def _steps(given: Mapping[str, Any]) -> tuple[rollout_steps.Step, ...] | None:
    """The steps as they were typed; None for those of the strategy."""
    if "then" in given:
        return _going_on(given)
    if "steps" in given:
        return rollout_syntax.parse_steps([str(each) for each in given["steps"]])
    return None


def _asking(given: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with the webhooks that were given for each weight, among their steps."""
    try:
        before, after = (
            rollout_syntax.parse_webhook(str(given[name])) if name in given else None
            for name in ("ask_before", "ask_after")
        )
    except Invalid as error:
        raise errors.BadWord(str(error)) from error
    if before is None and after is None:
        return dict(arguments)
    steps = rollout_steps.DEFAULTS[_strategy(arguments)]
    if "steps" in arguments:
        steps = msgspec.convert(arguments["steps"], tuple[rollout_steps.Step, ...])
    asked = rollout_steps.with_webhooks(steps, before=before, after=after)
    return {**arguments, "steps": msgspec.to_builtins(asked)}


def _addresses(given: Sequence[Any]) -> list[str]:
    """The addresses that are notified."""
    try:
        for url in given:
            rollout_steps.check_url(str(url))
    except ValueError as error:
        raise errors.BadWord(f"{error}.") from error
    return [str(each) for each in given]


def _strategy(arguments: Mapping[str, Any]) -> Strategy:
    try:
        return Strategy(arguments.get("strategy", Strategy.CANARY))
    except ValueError as error:
        known = ", ".join(each.value for each in Strategy)
        raise errors.BadWord(f"There is no strategy {arguments['strategy']}; {known}.") from error


def _going_on(given: Mapping[str, Any]) -> tuple[rollout_steps.Step, ...]:
    """The steps of a shadow that continues by itself; given steps are those of its mirror."""
    known = {each.value: each for each in Strategy if each is not Strategy.SHADOW}
    strategy = known.get(str(given["then"]).replace("-", "_"))
    if strategy is None:
        raise errors.BadWord(f"A shadow continues as {' or '.join(known)}, not as {given['then']}.")
    if str(given.get("strategy")) != Strategy.SHADOW:
        raise errors.BadWord("Only a shadow continues as another strategy; add --strategy shadow.")
    mirrors = [rollout_syntax.parse_step(str(each)) for each in given.get("steps", ())]
    if not all(isinstance(each, rollout_steps.Mirror) for each in mirrors):
        raise errors.BadWord(
            "With --then, --steps is the mirror alone, such as 'mirror 10% 500 12h'."
        )
    return (*(mirrors or [rollout_steps.Mirror()]), *rollout_steps.DEFAULTS[strategy])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of a rollout, the guards that it is held to, and what is notified of its moves."""

    steps: tuple[rollout_steps.Step, ...]
    guards: tuple[rollout_guards.Guard, ...]
    notify: tuple[str, ...]

    def lines(self) -> list[str]:
        """One a line."""
        rows = [f"  {at}. {rollout_steps.words(step)}" for at, step in enumerate(self.steps, 1)]
        held = [f"  {each.name}" + ("" if each.required else ", harm only") for each in self.guards]
        told = [f"  {url}" for url in self.notify]
        return ["steps", *rows, "guards", *held, *(["notify"] if told else []), *told]


def planned(arguments: Mapping[str, Any]) -> Plan:
    """The steps and guards that these arguments mean.

    Raises:
        errors.BadWord: they do not fit each other.
    """
    strategy = _strategy(arguments)
    steps = rollout_steps.DEFAULTS[strategy]
    if "steps" in arguments:
        steps = msgspec.convert(arguments["steps"], tuple[rollout_steps.Step, ...])
    guards = rollout_guards.GUARDS
    if "guards" in arguments:
        guards = msgspec.convert(arguments["guards"], tuple[rollout_guards.Guard, ...])
    try:
        rollout_steps.check(steps, guards)
        rollout_steps.fits(strategy, steps, guards)
    except Invalid as error:
        raise errors.BadWord(str(error)) from error
    return Plan(steps=steps, guards=guards, notify=tuple(arguments.get("notify", ())))


def _read(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise errors.BadWord(f"{file} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise errors.BadWord(f"{file} is not TOML: {error}.") from error
    if unknown := sorted(found.keys() - set(_NAMES)):
        known = ", ".join(_NAMES)
        raise errors.BadWord(f"{file}: {', '.join(unknown)} is unknown; known: {known}.")
    return found


def written(policy: Policy) -> dict[str, Any]:
    """A policy as a file has it; reading it gives the same. What it leaves to a default is left."""
    found: dict[str, Any] = {"strategy": policy.strategy.value}
    if policy.steps is not None:
        found["steps"] = [rollout_syntax.typed(step) for step in policy.steps]
    if policy.guards is not None:
        found["guards"] = [guard.name for guard in policy.guards]
    usual = Policy()
    for name in ("load_timeout", "rollback_window"):
        if (value := getattr(policy, f"{name}_s")) != getattr(usual, f"{name}_s"):
            found[name] = rollout_syntax.typed_duration(value)
    return found | ({"notify": [*policy.notify]} if policy.notify else {})


def check_names(given: Mapping[str, Any]) -> None:
    """BadWord unless a policy of a file has known names alone."""
    known = [each for each in _NAMES if each != "to"]
    if unknown := sorted(given.keys() - set(known)):
        raise errors.BadWord(f"{', '.join(unknown)} is unknown; known: {', '.join(known)}.")


def seconds(typed: str) -> int:
    """A duration as it is typed: 90s, 10m, 2h."""
    try:
        return rollout_syntax.parse_duration(typed)
    except Invalid as error:
        raise errors.BadWord(str(error)) from error
