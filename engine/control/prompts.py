"""Prompts: new versions, and labels that move. Templates are compiled before they are kept.

They are untrusted, so a renderer process compiles them. Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from engine.control.decisions import Decision, Reason
from engine.control.handlers import checks, handles
from engine.execution import failures
from engine.prompting.renderer import faults
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import Keyed, PromptSource
from storage import prompts
from storage.control_socket import verbs
from storage.intents import Intent
from storage.prompts import Message, Variable
from storage.store import Session

Names = tuple[frozenset[str], ...]
"""The variables that each template of a prompt uses."""

_VERDICTS: Final = 64
_verdicts: Final[OrderedDict[bytes, Names | faults.TemplateFault]] = OrderedDict()
"""Of the last sources, by their key; a verdict depends on nothing else."""


@handles("prompts.add")
async def add(s: Session, intent: Intent, arguments: verbs.PromptsAdd, at_us: int) -> Decision:
    """The next version of a prompt."""
    try:
        verdict = await compiled(arguments)
    except failures.Failure as failure:
        return Decision(Reason.FAULT, f"{arguments.prompt} cannot be compiled now: {failure}.")
    decision = decide(arguments.prompt, arguments.messages, arguments.variables, verdict)
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


@checks("prompts.add")
async def compiled(arguments: verbs.PromptsAdd) -> Names | faults.TemplateFault:
    """The variables of a prompt's templates, or why they cannot be compiled.

    Raises:
        failures.Failure: no process can be started to compile them.
    """
    try:
        source = Keyed(PromptSource(tuple(each.template for each in arguments.messages)))
    except faults.Unencodable as fault:
        return fault
    if source.key not in _verdicts:
        async with Renderer(processes=1) as renderer:
            try:
                _verdicts[source.key] = await renderer.names(source)
            except faults.TemplateFault as fault:
                _verdicts[source.key] = fault
        while len(_verdicts) > _VERDICTS:
            _verdicts.popitem(last=False)
    return _verdicts[source.key]


def decide(
    name: str,
    messages: Iterable[Message],
    variables: Iterable[Variable],
    verdict: Names | faults.TemplateFault,
) -> Decision:
    """Whether the templates could be compiled, and use declared variables only."""
    declared = {variable.name for variable in variables}
    places = [f"message {n} ({m.role}) of {name}" for n, m in enumerate(messages, 1)]
    if isinstance(verdict, faults.TemplateFault):
        place = places[verdict.place - 1] if verdict.place else name
        line = f", line {verdict.line}" if verdict.line else ""
        return Decision(Reason.INVALID, f"In {place}{line}: {verdict}.")
    for place, used in zip(places, verdict, strict=True):
        if unknown := used - declared:
            there = ", ".join(sorted(declared)) or "none"
            return Decision(
                Reason.INVALID,
                f"In {place}: {min(unknown)} is no variable of the prompt; declared: {there}.",
            )
    return Decision(Reason.APPLIED, f"{name} can be rendered.", declared)
