"""What a runbook is: named steps with look, do, verify and undo, read from YAML.

Reading validates everything, so that a run never meets a word that it does not know; an error
names the file and the step. Never runs anything. Imported by `runbooks` and `app`.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

LIBRARY: Final = Path(__file__).parent / "library"
LOOKED: Final = "looked"
"""As an expectation of `verify`: what the step's own `look` saw."""

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_EXPECTED: Final = re.compile(r"(<=|>=|==|<|>)\s*(-?[0-9]+(?:\.[0-9]+)?)")
_INPUT: Final = re.compile(r"\{([a-z_]+)\}")

Value = float | str | None


class BadRunbook(Exception):
    """A runbook cannot be read; the message names the file, the step and what is wrong."""


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of the person who starts it."""

    sentence: str
    default: str | None = None


class Look(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A probe with what is expected of it, such as `<= 0.01`; no expectation: just look.

    Looks inform, `verify` decides: what is not as expected is said and stops nothing.
    """

    probe: str
    of: str = ""
    window_s: int = 300
    expected: str | None = None


class Do(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An intent on behalf of the person who started the run.

    `confirm` repeats the target where the verb is hard to reverse.
    """

    verb: str
    target: str = ""
    arguments: dict[str, Any] = {}
    confirm: str = ""


class Verify(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wait until the probe is as expected; `looked` means: what this step's look saw."""

    probe: str
    of: str = ""
    window_s: int = 300
    expected: str
    timeout_s: float = 30.0


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One named step; the name is what a run resumes by."""

    name: str
    sentence: str
    look: Look | None = None
    do: Do | None = None
    verify: Verify | None = None
    undo: Do | None = None


class Runbook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named procedure."""

    name: str
    title: str
    when: str
    inputs: dict[str, Input] = {}
    steps: tuple[Step, ...]


def read(path: Path, *, probes: Mapping[str, Any], verbs: Mapping[str, Any]) -> Runbook:
    """One runbook.

    Raises:
        BadRunbook: with the file, the step and what is wrong.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadRunbook(f"{path.name}: it cannot be read: {error}") from error
    try:
        book = msgspec.convert(raw, Runbook)
    except msgspec.ValidationError as error:
        raise BadRunbook(f"{path.name}: {_where(raw, str(error))}") from error
    if book.name != path.stem:
        raise BadRunbook(f"{path.name}: its name is {book.name!r}; name and file must agree")
    for step in book.steps:
        for fault in _faults(book, step, probes, verbs):
            raise BadRunbook(f"{path.name}, step {step.name}: {fault}")
    if not book.steps:
        raise BadRunbook(f"{path.name}: it has no steps")
    return book


def content(book: Runbook) -> str:
    """The hash of what a runbook says; comments and whitespace of its file do not count.

    A field that an action leaves empty and that older runbooks did not have is not hashed, so that
    a runbook keeps its hash from version to version of Paddock.
    """
    said = msgspec.to_builtins(book)
    for step in said["steps"]:
        for do in (step["do"], step["undo"]):
            if do is not None and not do["confirm"]:
                del do["confirm"]
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()


def as_expected(value: Value, expected: str | None, looked: Value = None) -> bool | None:
    """Whether the value is as expected; None where nothing is expected or nothing was seen."""
    if expected is None or value is None:
        return None
    if expected == LOOKED:
        return value == looked
    found = _EXPECTED.fullmatch(expected)
    if found is None or not isinstance(value, int | float):
        return False
    return bool(_OPERATORS[found[1]](value, float(found[2])))


def filled(text: str, inputs: Mapping[str, str]) -> str:
    """The text with `{name}` replaced by inputs; nothing else is special."""
    return _INPUT.sub(lambda name: inputs[name[1]], text)


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
    if [other.name for other in book.steps].count(step.name) > 1:
        yield "another step has the same name"
    if step.look is None and step.do is None:
        yield "it neither looks nor does anything"
    if step.verify is not None and step.do is None:
        yield "it verifies without doing anything; use look"
    for look in (step.look, step.verify):
        if look is not None and look.probe not in probes:
            yield f"there is no probe {look.probe}; known: {', '.join(sorted(probes))}"
        if look is not None and not _can_be_met(look, step):
            yield f"{look.expected!r} is no expectation; write one like '<= 0.01'"
    for do in (step.do, step.undo):
        if do is not None and do.verb not in verbs:
            yield f"there is no verb {do.verb}; known: {', '.join(sorted(verbs))}"
    text = msgspec.json.encode(step).decode()
    for missing in {name[1] for name in _INPUT.finditer(text)} - set(book.inputs):
        yield f"it uses {{{missing}}}, which is none of the inputs"


def _can_be_met(look: Look | Verify, step: Step) -> bool:
    if look.expected == LOOKED:
        return isinstance(look, Verify) and step.look is not None
    return look.expected is None or _EXPECTED.fullmatch(look.expected) is not None
