"""How much memory a value of a template takes, or would take as text.

Measures only, and stops measuring beyond the limit. Imported by `bounds` and
`sandbox`.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from typing import Any, Final

from jinja2.utils import Namespace

SIZE_LIMIT: Final = 8_000_000
COUNT_LIMIT: Final = 300_000
"""Items of a list, and pieces of a text that is split."""
_EACH: Final = 4
_ESCAPED: Final = 10
"""An unprintable character becomes up to so many in the text of a list."""
_NUMBER: Final = re.compile(r"\d+")
_WIDTH: Final = re.compile(r"\d{5}")
_SPACES: Final = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + (
    "".join(map(chr, range(0x2000, 0x200B)))
)


def check(size: int) -> None:
    """OverflowError when a template makes too much."""
    if size > SIZE_LIMIT:
        raise OverflowError(f"it makes more than {SIZE_LIMIT} characters")


def check_count(count: int) -> None:
    """OverflowError when a template makes too many."""
    if count > COUNT_LIMIT:
        raise OverflowError(f"it makes a list of more than {COUNT_LIMIT} items")


def weight(value: Any, *, as_text: bool = False) -> int:
    """The characters of a text, or of all texts in a value plus a little for each item.

    `as_text`: the most that it can have when it is converted to text. Stops soon after the limit.
    """
    if isinstance(value, str):
        return len(value)
    total, waiting = 0, [value]
    while waiting and total <= SIZE_LIMIT:
        one = waiting.pop()
        inside: Iterable[Any] = ()
        if isinstance(one, str):
            total += len(one) * (_ESCAPED if as_text and not one.isprintable() else 1)
        elif isinstance(one, Namespace):
            waiting.append(object.__getattribute__(one, "_Namespace__attrs"))
        elif isinstance(one, dict):
            total += 2 * _EACH * len(one)
            waiting += one.keys()
            inside = one.values()
        elif isinstance(one, list | tuple | KeysView | ValuesView | ItemsView):
            total += _EACH * len(one)
            inside = one
        total += _EACH
        waiting += inside
    return total


def measured(items: Iterable[Any], each: int = _EACH, *, as_text: bool = False) -> Iterator[Any]:
    """The items, until all together are too large; `each` is added for every item."""
    total = 0
    for item in items:
        total += weight(item, as_text=as_text) + each
        check(total)
        yield item


def pieces(text: str, separator: str | None) -> int:
    """The most pieces that splitting it gives, at white space without a separator."""
    if separator:
        return text.count(separator) + 1
    return sum(map(text.count, _SPACES)) + 1


def check_form(form: str, mark: str, values: Any) -> None:
    """OverflowError when formatting may make too much; `mark` begins a field of the format."""
    places = form.count(mark)
    if _WIDTH.search(form) or (mark == "%" and "*" in form):
        raise OverflowError("a width in a format is too large or not a number")
    widths = sum(map(int, _NUMBER.findall(form)))
    given = max(weight(values, as_text=True), _largest(values) if mark == "{" else 0)
    check(len(form) + widths + places * given)


def _largest(values: Any) -> int:
    """The largest number among the values: it may be a width."""
    found = values.values() if isinstance(values, dict) else values
    return max((abs(each) for each in found if isinstance(each, int)), default=0)
