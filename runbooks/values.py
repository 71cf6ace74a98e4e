"""Values in runbooks: what a probe found against what is expected, and what fills in placeholders.

Pure. Imported by `runbooks` and `app`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from runbooks.steps import LOOKED, Do, InputType, Look, Runbook

Value = int | float | str | None

INPUT: Final = re.compile(r"\{([a-z_]+)\}")
"""A placeholder for an input."""
_ARITHMETIC: Final = re.compile(r"\{looked\} ([+*-]) ([0-9]+(?:\.[0-9]+)?)")
_NUMBER: Final = re.compile(r"(<=|>=|==|!=|<|>)\s*(-?[0-9]+(?:\.[0-9]+)?)")
_WORDS: Final = re.compile(r"(==|!=)\s*([A-Za-z][A-Za-z0-9_ .:@/=-]*)")
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_COMPUTE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
}  # fmt: skip


def is_expectation(expected: str) -> bool:
    """Whether it can be met: `<= 0.01`, `== progressing`, `> {limit}`."""
    text = INPUT.sub("1", expected)
    return _NUMBER.fullmatch(text) is not None or _WORDS.fullmatch(text) is not None


def as_expected(value: Value, expected: str | None, looked: Value = None) -> bool | None:
    """Whether the value is as expected; None where nothing is expected or nothing was seen."""
    if expected is None or value is None:
        return None
    if expected == LOOKED:
        return value == looked
    if isinstance(value, str):
        words = _WORDS.fullmatch(expected)
        return words is not None and bool(_COMPARE[words[1]](value, words[2].strip()))
    number = _NUMBER.fullmatch(expected)
    return number is not None and bool(_COMPARE[number[1]](value, float(number[2])))


def filled(text: str, inputs: Mapping[str, str]) -> str:
    """The text with `{name}` replaced by inputs; nothing else is special."""
    return INPUT.sub(lambda name: inputs[name[1]], text)


def typed(book: Runbook, inputs: Mapping[str, str]) -> dict[str, Value]:
    """The inputs that are numbers, as numbers; an input is the whole value of an argument then."""
    found: dict[str, Value] = {}
    for name, asked in book.inputs.items():
        if name in inputs and asked.type is InputType.INTEGER:
            found[name] = int(inputs[name])
        elif name in inputs and asked.type is InputType.NUMBER:
            found[name] = float(inputs[name])
    return found


def arguments(do: Do, inputs: Mapping[str, str], seen: Mapping[str, Value]) -> dict[str, Any]:
    """The arguments of an action; placeholders of `seen` become its values, with their type.

    `{looked} + 1`, with any of + - *, is a whole number made of what the look saw.

    Raises:
        ValueError: the look did not see a number.
    """
    return {name: _argument(value, inputs, seen) for name, value in do.arguments.items()}


def needs(do: Do, name: str) -> bool:
    """Whether the arguments of an action use `{name}`."""
    return f"{{{name}}}" in msgspec.json.encode(do.arguments).decode()


def is_whole(text: str, name: str) -> bool:
    """Whether a placeholder is all that a text says, arithmetic aside."""
    return text == f"{{{name}}}" or (name == LOOKED and _ARITHMETIC.fullmatch(text) is not None)


def _argument(value: Any, inputs: Mapping[str, str], seen: Mapping[str, Value]) -> Any:
    if isinstance(value, str):
        for name, known in seen.items():
            if value == f"{{{name}}}":
                return known
        if (sum_ := _ARITHMETIC.fullmatch(value)) is not None:
            return _computed(seen.get(LOOKED), sum_[1], float(sum_[2]))
        return filled(value, inputs)
    if isinstance(value, dict):
        return {
            filled(str(name), inputs): _argument(each, inputs, seen) for name, each in value.items()
        }
    if isinstance(value, list):
        return [_argument(each, inputs, seen) for each in value]
    return value


def _computed(looked: Value, sign: str, operand: float) -> int:
    if looked is None or isinstance(looked, str):
        raise ValueError(f"the look saw {looked!r}, which is not a number")
    made: int = round(_COMPUTE[sign](looked, operand))
    return made


def plain(value: Value) -> str:
    """A value as an input: whole numbers without a decimal point."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole and value is not None else str(value)


def shown(value: Value) -> str:
    """A value as people read it; a dash for what was not measured."""
    if value is None:
        return "not measured"
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)  # noqa: PLR2004


def report(look: Look, value: Value, expected: str | None = None) -> str:
    """What a look saw, in a sentence; `expected` is its expectation, filled in."""
    if value is None:
        return f"{look.probe}: no data"
    wanted = expected or look.expected
    return f"{look.probe} is {value}" + (f" (expected {wanted})" if wanted else "")
