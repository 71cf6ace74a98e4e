"""Everything that can be wrong with a runbook before it runs: names, shapes, branches, inputs.

Pure: what is read is handed in. Imported by `runbooks.parsing`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from runbooks import limits, steps, values
from runbooks.steps import Condition, Do, Look, Outcome, Runbook, Step, Unmet, Verify
from storage.control_socket.verbs import Danger

_RESERVED: Final = frozenset({steps.LOOKED, steps.INTENT})
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_SHOWN: Final = 8  # names in an error
_OF_LOOK: Final = frozenset({Outcome.EXPECTED, Outcome.UNEXPECTED, Outcome.UNMEASURED})


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong, and where: the path to it in the document."""

    path: tuple[str | int, ...]
    sentence: str


def faults(
    book: Runbook, name: str, probes: Mapping[str, Any], verbs: Mapping[str, Any]
) -> Iterator[Fault]:
    """All faults of a runbook whose file has this name, in the order of the document."""
    if book.name != name:
        yield Fault(("name",), f"its name is {book.name!r}; it must be that of the file")
    if not book.steps:
        yield Fault(("steps",), "it has no steps")
    for said in _of_inputs(book, probes):
        yield Fault(("inputs", said[0]), f"input {said[0]}: {said[1]}")
    if book.on is not None:
        for field, sentence in _of_automation(book, book.on, verbs):
            yield Fault(("on", field), f"on: {sentence}")
    for number, step in enumerate(book.steps):
        for at, sentence in _of_step(book, number, step, probes, verbs):
            yield Fault(("steps", number, *at), f"step {step.name}: {sentence}")


Found = Iterator[tuple[tuple[str | int, ...], str]]


def _of_inputs(book: Runbook, probes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    before: set[str] = set()
    for name, asked in book.inputs.items():
        if name in _RESERVED:
            yield name, f"an input may not be named {name}"
        if values.INPUT.fullmatch(f"{{{name}}}") is None:
            yield name, "an input's name is made of a-z and _"
        if asked.probe is not None and asked.probe not in probes:
            yield name, f"there is no probe {asked.probe}; {_known(asked.probe, probes)}"
        for used in sorted({each[1] for each in values.INPUT.finditer(asked.of)} - before):
            yield name, f"it uses {{{used}}}, which is not an input before it"
        before.add(name)


def _of_step(
    book: Runbook, number: int, step: Step, probes: Mapping[str, Any], verbs: Mapping[str, Any]
) -> Found:
    yield from _of_shape(book, number, step)
    looks: list[tuple[tuple[str | int, ...], Look | Verify | Condition]] = []
    looks += [(("look",), step.look)] if step.look else []
    looks += [(("verify",), step.verify)] if step.verify else []
    looks += [(("when",), step.when)] if isinstance(step.when, Condition) else []
    looks += [
        (("branch", n, "if"), each.condition)
        for n, each in enumerate(step.branch)
        if isinstance(each.condition, Condition)
    ]
    for at, look in looks:
        for field, sentence in _of_look(look, step, probes):
            yield (*at, field), sentence
    for part in ("do", "undo"):
        do = getattr(step, part)
        if do is not None:
            for field, sentence in _of_action(do, verbs):
                yield (part, field), sentence
    yield from _of_branches(book, number, step)
    yield from _of_names(book, step)


def _of_shape(book: Runbook, number: int, step: Step) -> Found:
    if _NAME.fullmatch(step.name) is None or step.name == steps.END:
        yield ("name",), f"a step's name is made of a-z, 0-9, - and _, and is not {steps.END!r}"
    if step.name in [other.name for other in book.steps[:number]]:
        yield ("name",), "another step has the same name"
    if step.look is None and step.do is None and step.ask is None:
        yield (), "it neither looks, acts nor asks for anything"
    if step.ask is not None and step.do is not None:
        yield ("ask",), "it asks a person and also acts; split it into two steps"
    if step.verify is not None and step.do is None and step.ask is None:
        yield ("verify",), "it verifies without doing anything; use look instead"
    if step.undo is not None and step.do is None:
        yield ("undo",), "it undoes without doing anything"
    if step.verify is not None and step.verify.unmet is Unmet.UNDO and step.undo is None:
        yield ("verify", "unmet"), "it would undo what it did, and has no undo"


def _of_look(
    look: Look | Verify | Condition, step: Step, probes: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    if look.probe not in probes:
        yield "probe", f"there is no probe {look.probe}; {_known(look.probe, probes)}"
    if look.window_s < 1:
        yield "window_s", "a window has at least one second"
    if look.expected is None or values.is_expectation(look.expected):
        return
    if not (look.expected == steps.LOOKED and isinstance(look, Verify) and step.look is not None):
        yield "expected", f"{look.expected!r} is not an expectation; write one like '<= 0.01'"


def _of_action(do: Do, verbs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    verb = verbs.get(do.verb)
    if verb is None:
        yield "verb", f"there is no verb {do.verb}; {_known(do.verb, verbs)}"
        return
    if verb.danger is Danger.HARD and not do.confirm:
        yield "verb", f"{do.verb} is hard to reverse; add `confirm` with the name of its target"
    known = {field.encode_name for field in msgspec.structs.fields(verb.arguments)}
    for strange in sorted(set(do.arguments) - known):
        takes = ", ".join(sorted(known)) or "none"
        yield "arguments", f"{do.verb} has no argument {strange}; it has {takes}"


def _known(name: str, names: Iterable[str]) -> str:
    """The names of the same noun as an unknown one, else similar ones, else the first."""
    known = sorted(names)
    noun = name.partition(".")[0]
    found = [each for each in known if each.startswith(f"{noun}.")]
    if not found and (near := difflib.get_close_matches(name, known, n=3)):
        return f"similar: {', '.join(near)}"
    found = found or known
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"known: {', '.join(found[:_SHOWN])}{more}"


def _of_branches(book: Runbook, number: int, step: Step) -> Found:
    later = [other.name for other in book.steps[number + 1 :]]
    earlier = [other.name for other in book.steps[: number + 1]]
    for n, branch in enumerate(step.branch):
        if branch.to in earlier:
            said = f"a branch back to {branch.to} is a loop; branch to a later step or to 'end'"
            yield ("branch", n, "to"), said
        elif branch.to != steps.END and branch.to not in later:
            known = ", ".join([*later, steps.END])
            yield ("branch", n, "to"), f"there is no later step {branch.to}; there are: {known}"
        yield from ((("branch", n, "if"), each) for each in _of_outcome(branch.condition, step))
    if step.when in {Outcome.VERIFIED, Outcome.UNVERIFIED}:
        yield ("when",), f"when is asked before the step verifies; {step.when} is for branches"
    elif step.when is not None:
        yield from ((("when",), each) for each in _of_outcome(step.when, step))


def _of_outcome(condition: Outcome | Condition, step: Step) -> Iterator[str]:
    if isinstance(condition, Condition):
        return
    if condition in _OF_LOOK and step.look is None:
        yield f"{condition} is about the step's look, and it has none"
    elif condition in _OF_LOOK - {Outcome.UNMEASURED} and step.look and not step.look.expected:
        yield f"{condition} needs an `expected` in the step's look"
    elif condition not in _OF_LOOK and step.verify is None:
        yield f"{condition} is about the step's verify, and it has none"


def _of_names(book: Runbook, step: Step) -> Found:
    text = msgspec.json.encode(step).decode()
    used = {name[1] for name in values.INPUT.finditer(text)}
    for missing in sorted(used - set(book.inputs) - _RESERVED):
        yield (), f"it uses {{{missing}}}, which is not an input"
    for name in sorted(_RESERVED & used):
        if text.count(f"{{{name}}}") != _whole_arguments(step, name):
            yield (), f"{{{name}}} can only be the whole value of an argument"
    acts = [do for do in (step.do, step.undo) if do is not None]
    if any(values.needs(do, steps.LOOKED) for do in acts) and step.look is None:
        yield ("do",), "it uses {looked} without a look"
    if step.do is not None and values.needs(step.do, steps.INTENT):
        yield ("do",), "it uses {intent}, which only its undo knows"


def _whole_arguments(step: Step, name: str) -> int:
    """How often a placeholder is the whole value of an argument of the step's actions."""

    def count(value: Any) -> int:
        if isinstance(value, dict):
            return sum(map(count, value.values()))
        if isinstance(value, list):
            return sum(map(count, value))
        return int(isinstance(value, str) and values.is_whole(value, name))

    return sum(count(do.arguments) for do in (step.do, step.undo) if do is not None)


def _of_automation(
    book: Runbook, on: steps.Automation, verbs: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    acting = {step.name: step.do for step in book.steps if step.do is not None}
    for name in on.alone:
        do = acting.get(name)
        if do is None:
            there = ", ".join(acting) or "none"
            yield "alone", f"no step {name} acts; those that act: {there}"
        elif do.verb in verbs and verbs[do.verb].danger is Danger.HARD:
            yield "alone", f"step {name} is hard to reverse; a person has to do it"
    if on.stop_at is not None and on.stop_at not in [step.name for step in book.steps]:
        yield "stop_at", f"there is no step {on.stop_at}"
    if limits.parsed(on.at_most) is None:
        yield "at_most", f"{on.at_most!r} is not a limit; write one like '2 per 1h'"
    for strange in sorted(set(on.inputs) - set(book.inputs)):
        yield "inputs", f"there is no input {strange}"
