"""The tree of an alert expression: its nodes, and the series that it asks for.

Pure. Imported by `storage.alert_expressions`, which reads text into it, and through it by every
package.
"""

from __future__ import annotations

import contextlib
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Match(StrEnum):
    """How a matcher compares a label."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LIKE = "=~"
    UNLIKE = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on a label; a label that a series does not have is empty."""

    label: str
    match: Match
    value: str

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it; a regular expression has to match the whole value."""
        found = labels.get(self.label, "")
        if self.match in {Match.EQUAL, Match.NOT_EQUAL}:
            return (found == self.value) == (self.match is Match.EQUAL)
        fitted = re.fullmatch(self.value, found, re.ASCII) is not None
        return fitted == (self.match is Match.LIKE)

    def __str__(self) -> str:
        """As it is written: service=~"a|b"."""
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.match.value}"{escaped}"'


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Selector:
    """The series of a name; with `range_s` their samples of that range, else the newest one."""

    name: str
    matchers: tuple[Matcher, ...]
    range_s: int | None
    offset_s: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function of other expressions."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One value for each group: `by` the labels, or by all others if `without`."""

    operation: str
    labels: tuple[str, ...]
    without: bool
    of: Node


class Card(StrEnum):
    """Which side of a binary operation may have several elements for one of the other."""

    ONE_TO_ONE = "one to one"
    MANY_TO_ONE = "many to one"
    ONE_TO_MANY = "one to many"


@dataclass(frozen=True, slots=True)
class Binary:
    """An operation on two expressions, and how the elements of two vectors are paired."""

    operation: str
    left: Node
    right: Node
    as_bool: bool = False
    on: bool = False
    labels: tuple[str, ...] = ()
    card: Card = Card.ONE_TO_ONE
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Negate:
    """The expression with its sign turned."""

    of: Node


Node = Number | Selector | Call | Aggregate | Binary | Negate


def is_scalar(node: Node) -> bool:
    """Whether it is one number, without labels."""
    if isinstance(node, Call):
        return node.function in {"scalar", "time"}
    if isinstance(node, Negate):
        return is_scalar(node.of)
    if isinstance(node, Binary):
        return is_scalar(node.left) and is_scalar(node.right)
    return isinstance(node, Number)


_OPERATIONS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
    "^": math.pow,
}


def constant(node: Node) -> float | None:
    """The value of an expression of numbers alone; None where it is anything else, or has none."""
    found: float | None = None
    match node:
        case Number():
            found = node.value
        case Negate() if (of := constant(node.of)) is not None:
            found = -of
        case Call(function="vector", arguments=(only,)):
            found = constant(only)
        case Binary() if node.operation in _OPERATIONS:
            left, right = constant(node.left), constant(node.right)
            if left is not None and right is not None:
                with contextlib.suppress(ArithmeticError, ValueError):
                    found = _OPERATIONS[node.operation](left, right)
        case _:
            pass
    return found


def selectors(node: Node) -> Iterator[Selector]:
    """The selectors of a tree."""
    match node:
        case Selector():
            yield node
        case Call():
            for each in node.arguments:
                yield from selectors(each)
        case Binary():
            yield from selectors(node.left)
            yield from selectors(node.right)
        case Aggregate() | Negate():
            yield from selectors(node.of)
        case Number():
            return
