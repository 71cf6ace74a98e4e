"""Trials of prompt templates before they are kept or served: compiled, then rendered once.

They are untrusted, so a renderer process does both. Verdicts are remembered, so that a handler
inside the transaction finds the one that its check obtained before. Imported by
`engine.control.prompts` and `engine.control.prompt_imports`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from engine.control.decisions import Decision, Reason
from engine.prompting import prompt_template
from engine.prompting.renderer import faults
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import Keyed, PromptSource
from storage.prompts import Message, Type, Variable

Names = tuple[frozenset[str], ...]
"""The variables that each template of a prompt uses."""
Verdict = Names | faults.TemplateFault

_VERDICTS: Final = 10_000
_verdicts: Final[OrderedDict[tuple[bytes, str], Verdict]] = OrderedDict()
"""Of the last sources, by their key and the values of the trial; it depends on nothing else."""
_STAND_INS: Final[Mapping[Type, object]] = {
    "string": "", "integer": 0, "number": 0.0, "boolean": False,
}  # fmt: skip
"""Values of variables without a default."""


async def verdict(messages: Sequence[Message], variables: Sequence[Variable]) -> Verdict:
    """The variables of a prompt's templates, or why they cannot be compiled or never end.

    Other faults in rendering may be due to the values; they are left to the request that meets
    them.

    Raises:
        failures.Failure: no process can be started to try them.
    """
    return (await verdicts([(messages, variables)]))[0]


async def verdicts(
    sources: Sequence[tuple[Sequence[Message], Sequence[Variable]]],
) -> list[Verdict]:
    """The verdicts of several prompt versions, by one renderer process.

    Raises:
        failures.Failure: no process can be started to try them.
    """
    found: list[Verdict] = []
    async with Renderer(processes=1) as renderer:
        for messages, variables in sources:
            try:
                source = Keyed(PromptSource(tuple(each.template for each in messages)))
            except faults.Unencodable as fault:
                found.append(fault)
                continue
            values = {
                each.name: prompt_template.default(each)
                if each.default is not None
                else _STAND_INS[each.type]
                for each in variables
            }
            key = source.key, repr(sorted(values.items()))
            if key not in _verdicts:
                _verdicts[key] = await _try(renderer, source, values)
            found.append(_verdicts[key])
    while len(_verdicts) > _VERDICTS:
        _verdicts.popitem(last=False)
    return found


async def _try(
    renderer: Renderer, source: Keyed[PromptSource], values: Mapping[str, object]
) -> Verdict:
    try:
        names = await renderer.names(source)
    except faults.TemplateFault as fault:
        return fault
    try:
        await renderer.texts(source, values)
    except faults.Exceeded as fault:
        return fault
    except faults.TemplateFault:
        pass
    return names


def decide(
    name: str, messages: Sequence[Message], variables: Sequence[Variable], verdict: Verdict
) -> Decision:
    """Whether the templates could be compiled, end, and use declared variables only."""
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
