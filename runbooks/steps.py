"""The model of a runbook: named steps with look, do, verify and undo, and what fills them in.

Pure; `runbooks.parsing` makes runbooks out of YAML. Imported by `runbooks` and `app`.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

LOOKED: Final = "looked"
"""As an expectation of `verify`, and as `{looked}` in arguments: what the step's `look` saw."""

INTENT: Final = "intent"
"""As `{intent}` in the arguments of `undo`: the id of the intent by which the step acted."""

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
EXPECTED: Final = re.compile(r"(<=|>=|==|<|>)\s*(-?[0-9]+(?:\.[0-9]+)?)")
INPUT: Final = re.compile(r"\{([a-z_]+)\}")

Value = float | str | None


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the person who starts the runbook is asked for."""

    sentence: str
    default: str | None = None


class Look(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A probe and what is expected of it, such as `<= 0.01`; without an expectation, it reports.

    Looks inform, `verify` decides: an unexpected value is reported and stops nothing.
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
    """Wait until the probe is as expected; `looked` means what this step's look saw."""

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


def content(book: Runbook) -> str:
    """The hash of what a runbook says; comments and whitespace of its file do not count.

    Fields that older versions did not have are hashed only where they are set, so that a runbook
    keeps its hash across versions of Paddock.
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
    found = EXPECTED.fullmatch(expected)
    if found is None or not isinstance(value, int | float):
        return False
    return bool(_OPERATORS[found[1]](value, float(found[2])))


def filled(text: str, inputs: Mapping[str, str]) -> str:
    """The text with `{name}` replaced by inputs; nothing else is special."""
    return INPUT.sub(lambda name: inputs[name[1]], text)


def arguments(do: Do, inputs: Mapping[str, str], seen: Mapping[str, Value]) -> dict[str, Any]:
    """The arguments of an action; `{looked}` and `{intent}` become values of `seen`, typed."""
    return {name: _argument(value, inputs, seen) for name, value in do.arguments.items()}


def needs(do: Do, name: str) -> bool:
    """Whether the arguments of an action use `{name}`."""
    return f"{{{name}}}" in msgspec.json.encode(do.arguments).decode()


def _argument(value: Any, inputs: Mapping[str, str], seen: Mapping[str, Value]) -> Any:
    if isinstance(value, str):
        for name, known in seen.items():
            if value == f"{{{name}}}":
                return known
        return filled(value, inputs)
    if isinstance(value, dict):
        return {
            filled(str(name), inputs): _argument(each, inputs, seen) for name, each in value.items()
        }
    if isinstance(value, list):
        return [_argument(each, inputs, seen) for each in value]
    return value


def report(look: Look, value: Value) -> str:
    """What a look saw, in a sentence."""
    if value is None:
        return f"{look.probe}: no data"
    if look.expected is None:
        return f"{look.probe} is {value}"
    return f"{look.probe} is {value} (expected {look.expected})"
