"""Prompts: new versions, and labels that move. Templates are parsed before they are kept.

Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jinja2 import Environment, meta

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.prompting import sandbox
from storage import prompts
from storage.control_socket import verbs
from storage.intents import Intent
from storage.prompts import Message, Variable
from storage.store import Session

_SANDBOX: Final = sandbox.Sandbox(strict=True)
_PLAIN: Final = Environment(extensions=["jinja2.ext.loopcontrols"])  # noqa: S701 parses, never renders
_GIVEN: Final = frozenset({"range", "namespace", "dict", "raise_exception", "strftime_now"})


@handles("prompts.add")
async def add(s: Session, intent: Intent, arguments: verbs.PromptsAdd, at_us: int) -> Decision:
    """The next version of a prompt."""
    decision = decide(arguments.prompt, arguments.messages, arguments.variables)
    if decision.plan is None:
        return decision
    before = {version.id for version in await prompts.every(s)}
    version = await prompts.add(
        s,
        prompt=arguments.prompt,
        messages=arguments.messages,
        variables=arguments.variables,
        author=intent.actor,
        comment=arguments.comment,
        at_us=at_us,
        intent_id=intent.id,
    )
    if version.id in before:
        return Decision(Reason.UNCHANGED, f"{version.name} has this content; no change.", version)
    return Decision(Reason.APPLIED, f"Created {version.name}.", version)


@handles("prompts.label")
async def label(s: Session, intent: Intent, arguments: verbs.PromptsLabel, at_us: int) -> Decision:
    """Point a label at a version; `expected_version` is the number it points at, 0 for none.

    Releases name prompt versions, never labels: what is served does not change by this.
    """
    before = (await prompts.labels(s, intent.target)).get(arguments.label)
    if intent.expected_version not in {None, before or 0}:
        was = "nothing" if before is None else f"{intent.target}@{before}"
        said = f"{intent.target}:{arguments.label} changed since you looked: it is {was}."
        return Decision(Reason.MOVED, f"{said} Look again.")
    await prompts.label(
        s,
        intent.target,
        arguments.label,
        arguments.number,
        intent.actor,
        at_us,
        intent_id=intent.id,
    )
    now = f"{intent.target}:{arguments.label} is {intent.target}@{arguments.number}"
    if before == arguments.number:
        return Decision(Reason.UNCHANGED, f"{now}; no change.", arguments.number)
    was = f" (before: {intent.target}@{before})" if before is not None else ""
    said = f"{now}{was}. Releases keep the prompt version that they were created with."
    return Decision(Reason.APPLIED, said, arguments.number)


def decide(name: str, messages: Iterable[Message], variables: Iterable[Variable]) -> Decision:
    """Whether the templates can be compiled as the gateway will, with declared variables only."""
    declared = {variable.name for variable in variables}
    for number, message in enumerate(messages, 1):
        place = f"message {number} ({message.role}) of {name}"
        try:
            _SANDBOX.compile(message.template)
            used = meta.find_undeclared_variables(_PLAIN.parse(message.template))
        except sandbox.TemplateFault as fault:
            return Decision(Reason.INVALID, f"In {place}, line {fault.line}: {fault}.")
        if unknown := used - declared - _GIVEN:
            there = ", ".join(sorted(declared)) or "none"
            return Decision(
                Reason.INVALID,
                f"In {place}: {min(unknown)} is no variable of the prompt; declared: {there}.",
            )
    return Decision(Reason.APPLIED, f"{name} can be rendered.", declared)
