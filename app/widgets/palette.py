"""The styles of the screen, by name, from the terminal's own palette.

Only the sixteen colours and the terminal's own background are used, so a dark terminal stays dark
and a light one light, and a line costs few bytes. A colour never carries meaning alone: a word or a
sign says the same. Imported by widgets and screens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from rich.style import Style

from app import words

Piece = tuple[str, str]
"""A text and the name of its ink."""

Line = tuple[Piece, ...]
"""One row of the screen, left to right."""

_INKS: Final = {
    "": "",
    "bold": "bold",
    "dim": "dim",
    "key": "bold cyan",
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
    "draw": "cyan",
    "draw2": "green",
    "cursor": "color(255) on color(239)",
    "block": "reverse",
    "ro": "color(252) on color(236)",
    "ro-bold": "bold color(255) on color(236)",
    "ro-dim": "color(246) on color(236)",
    "ro-bad": "bold color(255) on color(160)",
    "rw": "bold color(255) on color(124)",
    "rw-bold": "bold color(255) on color(124)",
    "rw-dim": "color(252) on color(124)",
    "rw-bad": "bold color(16) on color(220)",
    "ask": "bold color(16) on color(220)",
}
# Without colours: weight and reversal carry what is left.
_PLAIN: Final = {
    "bad": "bold",
    "key": "bold",
    "cursor": "reverse",
    "block": "reverse",
    "ro": "bold",
    "ro-bold": "bold underline",
    "ro-bad": "bold reverse",
    "rw": "bold reverse",
    "rw-bold": "bold reverse",
    "rw-dim": "reverse",
    "rw-bad": "bold underline reverse",
    "ask": "bold reverse",
    "bold": "bold",
    "dim": "dim",
}
# For terminals that cannot show more than ASCII; each sign keeps its one cell.
_ASCII: Final = str.maketrans(
    "─│├└·…—–→←▸▲△●○✔▶✖Ⅱ°×µ█▉▊▋▌▍▎▕▏↻›“”\u2009",
    '-||`.~--><>^!*ov>x=oxu#####||||x>"" ',
)


@cache
def style(name: str, *, colour: bool = True) -> Style:
    """The style of an ink; a cursor row keeps its ink's weight and is reversed."""
    ink, _, over = name.partition("+")
    known = _INKS if colour else _PLAIN
    found = Style.parse(known.get(ink, "") or "none")
    return found + style(over, colour=colour) if over else found


def plain(text: str) -> str:
    """The text in ASCII alone, sign for sign."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def text(line: Line) -> str:
    """What a row says, without its inks."""
    return "".join(piece for piece, _ in line)


def length(line: Line) -> int:
    """The cells that a row takes."""
    return sum(words.width(piece) for piece, _ in line)


def cut(line: Line, width: int) -> Line:
    """The row in at most `width` cells; an ellipsis says where something is missing."""
    if length(line) <= width:
        return line
    kept: list[Piece] = []
    for piece, ink in line:
        taken = words.width(piece)
        if taken < width:
            kept.append((piece, ink))
            width -= taken
            continue
        # The last cell is needed for the ellipsis, as something follows or did not fit.
        short = words.cut(piece, width) if taken > width else words.cut(piece + " ", width)
        kept.append((short, ink))
        break
    return tuple(kept)


def spread(left: Line, right: Line, width: int, ink: str = "") -> Line:
    """Two halves at the two ends of a row; the left one gives way."""
    room = width - length(right)
    left = cut(left, max(room, 0))
    gap = max(width - length(left) - length(right), 0)
    return cut((*left, (" " * gap, ink), *right), width)


def over(line: Line, ink: str) -> Line:
    """The row with an ink laid over its own."""
    return tuple((piece, f"{own}+{ink}") for piece, own in line)


def rule(width: int, title: str = "", right: str = "") -> Line:
    """A thin line across, perhaps with a title."""
    tail = f" {right} ─" if right else ""
    head = f"─ {title} " if title else ""
    head = words.cut(head, max(width - words.width(tail) - 1, 0))
    fill = "─" * max(width - words.width(head) - words.width(tail), 0)
    if not title:
        return ((fill, "dim"), (tail, "dim"))
    return (("─ ", "dim"), (head[2:], "bold"), (fill, "dim"), (tail, "dim"))


def join(parts: Iterable[Line], gap: str = "   ") -> Line:
    """Several pieces of a row with space between them; empty ones leave none."""
    found: list[Piece] = []
    for part in parts:
        if not part:
            continue
        if found:
            found.append((gap, ""))
        found += part
    return tuple(found)


def flow(parts: Sequence[Line], width: int, gap: str = "   ", indent: str = " ") -> list[Line]:
    """Parts in as many rows as they need; none is torn."""
    rows: list[list[Line]] = [[]]
    room = width - len(indent)
    for part in parts:
        taken = length(part) + (len(gap) if rows[-1] else 0)
        if taken > room and rows[-1]:
            rows.append([])
            room, taken = width - len(indent), length(part)
        rows[-1].append(part)
        room -= taken
    return [((indent, ""), *join(row, gap)) for row in rows]
