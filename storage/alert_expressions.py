"""Expressions of alert rules: a subset of PromQL, read into a tree that the evaluator walks.

`promql-parser` reads the text; this module refuses what the evaluator does not have, with the name
of it, and what can only be a mistake, such as a division by zero. A regular expression of a
matcher is restricted to what cannot take exponential time in Python. Never evaluates. Imported by
`storage.alert_rules` and `engine.control.alerts`.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

import promql_parser

from storage import errors
from storage.alert_nodes import (
    Aggregate,
    Binary,
    Call,
    Card,
    Match,
    Matcher,
    Negate,
    Node,
    Number,
    Selector,
    constant,
    is_scalar,
    selectors,
)

__all__ = [
    "AGGREGATIONS", "ARITHMETIC", "COMPARISONS", "INSTANT", "MOST_CHARACTERS", "MOST_RANGE_S",
    "RANGED", "SETS", "Aggregate", "Binary", "Call", "Card", "Match", "Matcher", "Negate", "Node",
    "Number", "Selector", "check_regex", "is_scalar", "parse", "selectors",
]  # fmt: skip


RANGED: Final = frozenset(
    {
        "rate", "increase", "delta", "changes", "resets", "avg_over_time", "min_over_time",
        "max_over_time", "sum_over_time", "count_over_time", "last_over_time",
        "present_over_time",
    }
)  # fmt: skip
"""Functions of a range of samples: `rate(name[5m])`."""

INSTANT: Final = frozenset(
    {"abs", "absent", "ceil", "clamp_max", "clamp_min", "floor", "histogram_quantile",
     "scalar", "vector", "time"}
)  # fmt: skip
"""Functions of present values."""

AGGREGATIONS: Final = frozenset({"sum", "avg", "min", "max", "count"})
ARITHMETIC: Final = frozenset({"+", "-", "*", "/", "%", "^"})
COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
SETS: Final = frozenset({"and", "or", "unless"})

MOST_CHARACTERS: Final = 2_000
MOST_RANGE_S: Final = 24 * 3600
"""The longest range or offset: samples are held in memory for this long."""

_MOST_DEPTH: Final = 40
_MOST_CHOICES: Final = 3
_MOST_PATTERN: Final = 500
_SAFE_ESCAPES: Final = frozenset(r"\.-+*?()[]{}|^$dDwWsS/:")


def parse(text: str) -> Node:
    """The tree of an expression.

    Raises:
        Invalid: it is not PromQL, or beyond the subset; the message names the place or the part.
    """
    if len(text) > MOST_CHARACTERS:
        raise errors.Invalid(f"an expression has at most {MOST_CHARACTERS} characters")
    try:
        parsed = promql_parser.parse(text)
    except ValueError as error:
        raise errors.Invalid(f"not PromQL: {error}") from error
    return _node(parsed, 0)


def check_regex(pattern: str) -> str:
    """The pattern itself, if it is simple enough to be matched in time.

    Raises:
        Invalid: it repeats a group, looks around, or leaves more than three choices: repetitions,
            optional parts and groups of alternatives multiply the ways to match.
    """
    bare = re.sub(r"\\(.)", lambda found: "x" if found[1] in _SAFE_ESCAPES else "\\", pattern)
    if "\\" in bare or "(?" in bare:
        raise errors.Invalid(f"the pattern {pattern!r} uses more than plain regular expressions")
    bare = re.sub(r"\[[^\]]*\]", "x", bare)
    if re.search(r"\)[*+?{]", bare):
        raise errors.Invalid(f"the pattern {pattern!r} repeats a group; write alternatives instead")
    choices = len(re.findall(r"[*+?{(]", bare))
    if choices > _MOST_CHOICES or (choices and len(pattern) > _MOST_PATTERN):
        raise errors.Invalid(
            f"the pattern {pattern!r} has more than {_MOST_CHOICES} repetitions, optional parts "
            f"and groups, or more than {_MOST_PATTERN} characters; write alternatives instead"
        )
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise errors.Invalid(f"the pattern {pattern!r} is not a regular expression") from error
    return pattern


def _node(parsed: Any, depth: int) -> Node:  # noqa: C901, PLR0911 a line for each kind
    if depth > _MOST_DEPTH:
        raise errors.Invalid(f"an expression is nested at most {_MOST_DEPTH} deep")
    match type(parsed).__name__:
        case "NumberLiteral":
            return Number(float(parsed.val))
        case "ParenExpr":
            return _node(parsed.expr, depth + 1)
        case "UnaryExpr":
            return Negate(_node(parsed.expr, depth + 1))
        case "VectorSelector":
            return _selector(parsed, None)
        case "MatrixSelector":
            return _selector(parsed.vector_selector, parsed.range)
        case "Call":
            return _call(parsed, depth)
        case "AggregateExpr":
            return _aggregate(parsed, depth)
        case "BinaryExpr":
            return _binary(parsed, depth)
        case "SubqueryExpr":
            raise errors.Invalid("subqueries are not supported; use a function over a range")
        case _:
            raise errors.Invalid("a string is not a value")


def _selector(parsed: Any, range_: timedelta | None) -> Selector:
    if parsed.name is None:
        raise errors.Invalid("name the series before the braces, not with __name__")
    if parsed.at is not None:
        raise errors.Invalid("@ is not supported; rules are evaluated at the present")
    if parsed.matchers.or_matchers:
        raise errors.Invalid('"or" between matchers is not supported')
    found = []
    for each in parsed.matchers.matchers:
        match = {"Equal": Match.EQUAL, "NotEqual": Match.NOT_EQUAL, "Re": Match.LIKE}.get(
            str(each.op).rpartition(".")[2], Match.UNLIKE
        )
        if match in {Match.LIKE, Match.UNLIKE}:
            check_regex(each.value)
        found.append(Matcher(each.name, match, each.value))
    offset_s = 0 if parsed.offset is None else round(parsed.offset.total_seconds())
    range_s = None if range_ is None else round(range_.total_seconds())
    if offset_s < 0:
        raise errors.Invalid("a negative offset looks into the future")
    if (range_s or 0) + offset_s > MOST_RANGE_S or range_s == 0:
        raise errors.Invalid("ranges and offsets are 1 s to 24 h together")
    return Selector(parsed.name, tuple(found), range_s, offset_s)


def _call(parsed: Any, depth: int) -> Node:
    name = parsed.func.name
    if name not in RANGED | INSTANT:
        known = ", ".join(sorted(RANGED | INSTANT))
        raise errors.Invalid(f"the function {name} is not supported; there are {known}")
    return Call(name, tuple(_node(each, depth + 1) for each in parsed.args))


def _aggregate(parsed: Any, depth: int) -> Node:
    name = str(parsed.op)
    if name not in AGGREGATIONS:
        known = ", ".join(sorted(AGGREGATIONS))
        raise errors.Invalid(f"the aggregation {name} is not supported; there are {known}")
    labels = () if parsed.modifier is None else tuple(parsed.modifier.labels)
    without = parsed.modifier is not None and str(parsed.modifier.type).endswith("Without")
    return Aggregate(name, labels, without, _node(parsed.expr, depth + 1))


def _binary(parsed: Any, depth: int) -> Node:
    operation = str(parsed.op)
    if operation not in ARITHMETIC | COMPARISONS | SETS:
        raise errors.Invalid(f"the operator {operation} is not supported")
    left, right = _node(parsed.lhs, depth + 1), _node(parsed.rhs, depth + 1)
    if operation in {"/", "%"} and constant(right) == 0:
        raise errors.Invalid("it divides by zero, so it never has a value")
    modifier = parsed.modifier
    if modifier is None:
        return Binary(operation, left, right)
    if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
        raise errors.Invalid("fill is not supported")
    card = {"ManyToOne": Card.MANY_TO_ONE, "OneToMany": Card.ONE_TO_MANY}.get(
        str(modifier.card).rpartition(".")[2], Card.ONE_TO_ONE
    )
    matching = modifier.matching
    return Binary(
        operation,
        left,
        right,
        as_bool=modifier.return_bool,
        on=matching is not None and str(matching.type).endswith("Include"),
        labels=() if matching is None else tuple(matching.labels),
        card=card,
        include=tuple(modifier.group_labels or ()),
    )
