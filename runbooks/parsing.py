"""Reading runbooks from YAML: validated whole, so that a run never meets an unknown probe or verb.

An error names the file, the step and what is wrong. Never runs anything. Imported by `runbooks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from runbooks import steps
from runbooks.steps import Do, Look, Runbook, Step, Verify
from storage.control_socket.verbs import Danger

LIBRARY: Final = Path(__file__).parent / "library"
_RESERVED: Final = frozenset({steps.LOOKED, steps.INTENT})


class BadRunbook(Exception):
    """A runbook cannot be read; the message names the file, the step and what is wrong."""


def read(path: Path, *, probes: Mapping[str, Any], verbs: Mapping[str, Any]) -> Runbook:
    """One runbook.

    Raises:
        BadRunbook: with the file, the step and what is wrong.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadRunbook(f"{path.name}: cannot be read: {error}") from error
    try:
        book = msgspec.convert(raw, Runbook)
    except msgspec.ValidationError as error:
        raise BadRunbook(f"{path.name}: {_where(raw, str(error))}") from error
    if book.name != path.stem:
        raise BadRunbook(f"{path.name}: its name is {book.name!r}; it must be that of the file")
    for step in book.steps:
        for fault in _faults(book, step, probes, verbs):
            raise BadRunbook(f"{path.name}, step {step.name}: {fault}")
    if not book.steps:
        raise BadRunbook(f"{path.name}: it has no steps")
    return book


def _where(raw: Any, said: str) -> str:
    """The words of the validation with the step's name instead of its place in a list."""
    found = re.search(r"\$\.steps\[(\d+)\]", said)
    try:
        step = raw["steps"][int(found[1])]["name"] if found else None
    except (KeyError, TypeError, IndexError):
        step = found and f"number {int(found[1]) + 1}"
    return f"step {step}: {said}" if step else said


def _faults(
    book: Runbook, step: Step, probes: Mapping[str, Any], verbs: Mapping[str, Any]
) -> Iterator[str]:
    yield from _faults_of_shape(book, step)
    for look in (step.look, step.verify):
        if look is not None:
            yield from _faults_of_look(look, step, probes)
    for do in (step.do, step.undo):
        if do is not None:
            yield from _faults_of_action(do, verbs)
    yield from _faults_of_names(book, step)


def _faults_of_shape(book: Runbook, step: Step) -> Iterator[str]:
    if [other.name for other in book.steps].count(step.name) > 1:
        yield "another step has the same name"
    if step.look is None and step.do is None:
        yield "it neither looks nor does anything"
    if step.verify is not None and step.do is None:
        yield "it verifies without doing anything; use look instead"


def _faults_of_look(look: Look | Verify, step: Step, probes: Mapping[str, Any]) -> Iterator[str]:
    if look.probe not in probes:
        yield f"there is no probe {look.probe}; known: {', '.join(sorted(probes))}"
    if not _can_be_met(look, step):
        yield f"{look.expected!r} is not an expectation; write one like '<= 0.01'"


def _faults_of_action(do: Do, verbs: Mapping[str, Any]) -> Iterator[str]:
    if do.verb not in verbs:
        yield f"there is no verb {do.verb}; known: {', '.join(sorted(verbs))}"
    elif verbs[do.verb].danger is Danger.HARD and not do.confirm:
        yield f"{do.verb} is hard to reverse; add `confirm` with the name of its target"


def _faults_of_names(book: Runbook, step: Step) -> Iterator[str]:
    text = msgspec.json.encode(step).decode()
    used = {name[1] for name in steps.INPUT.finditer(text)}
    for missing in used - set(book.inputs) - _RESERVED:
        yield f"it uses {{{missing}}}, which is not an input"
    for name in sorted(_RESERVED & used):
        if text.count(f"{{{name}}}") != _whole_arguments(step, f"{{{name}}}"):
            yield f"{{{name}}} can only be the whole value of an argument"
    if reserved := _RESERVED & set(book.inputs):
        yield f"an input may not be named {min(reserved)}"
    if step.do is not None and steps.needs(step.do, steps.LOOKED) and step.look is None:
        yield "it uses {looked} without a look"
    if step.do is not None and steps.needs(step.do, steps.INTENT):
        yield "it uses {intent}, which only its undo knows"


def _whole_arguments(step: Step, placeholder: str) -> int:
    """How often a placeholder is the whole value of an argument of the step's actions."""

    def count(value: Any) -> int:
        if isinstance(value, dict):
            return sum(map(count, value.values()))
        return sum(map(count, value)) if isinstance(value, list) else int(value == placeholder)

    return sum(count(do.arguments) for do in (step.do, step.undo) if do is not None)


def _can_be_met(look: Look | Verify, step: Step) -> bool:
    if look.expected == steps.LOOKED:
        return isinstance(look, Verify) and step.look is not None
    return look.expected is None or steps.EXPECTED.fullmatch(look.expected) is not None
