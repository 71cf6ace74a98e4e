"""A chart of one quantity over time, in a range that does not move with its values.

A sparkline that scales to its own extremes shows a quiet box and a burning one alike; here the
top is given, the unit is in the caption and the last value is printed. A second that was not
measured is blank, a measured zero is drawn. Imported by screens.
"""

from __future__ import annotations

import locale
import os
from collections.abc import Sequence
from typing import Final, Literal

from app.snapshot import Series
from app.widgets import palette
from app.widgets.lines import Lines
from app.widgets.palette import Line

Glyphs = Literal["braille", "block", "ascii"]
GLYPHS: Final[tuple[Glyphs, ...]] = ("braille", "block", "ascii")

AXIS: Final = 6  # cells for the labels of the range and the axis itself
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " .:|#"
# The dots of a braille cell from the bottom up, left and right column.
_LEFT: Final = (0x40, 0x04, 0x02, 0x01)
_RIGHT: Final = (0x80, 0x20, 0x10, 0x08)
_BRAILLE: Final = 0x2800


def glyphs(asked: str | None) -> Glyphs:
    """What charts are drawn with: as asked, else what the terminal can surely show."""
    wanted = asked or os.environ.get("PADDOCK_CHART", "")
    if wanted in GLYPHS:
        return wanted
    return (
        "braille" if "utf" in locale.getpreferredencoding(do_setlocale=False).lower() else "ascii"
    )


def buckets(series: Series, count: int) -> list[float | None]:
    """The values as at most `count` means, oldest first.

    The bounds of a bucket depend on the clock and not on `end`: until a bucket is full only the
    last one changes from second to second, and the rest does not move.
    """
    seconds = len(series.values)
    count = max(min(count, seconds), 1)
    last = series.end * count // max(seconds, 1)
    sums = [0.0] * count
    hits = [0] * count
    begin = series.end - seconds + 1
    for offset, value in enumerate(series.values):
        if value is None:
            continue
        at = count - 1 - (last - (begin + offset) * count // seconds)
        if 0 <= at < count:
            sums[at] += value
            hits[at] += 1
    return [total / hit if hit else None for total, hit in zip(sums, hits, strict=True)]


def _levels(values: Sequence[float | None], top: float, steps: int) -> list[int]:
    """How many of `steps` each value fills; a measured zero fills the first, nothing none."""
    found = []
    for value in values:
        if value is None or top <= 0:
            found.append(0)
        else:
            found.append(min(max(round(value / top * steps), 1), steps))
    return found


def plot(series: Series, width: int, height: int, glyphs: Glyphs) -> list[str]:
    """The drawing alone, top row first; exactly `width` cells each."""
    across = width * 2 if glyphs == "braille" else width
    down = {"braille": 4, "block": 8, "ascii": 4}[glyphs]
    levels = _levels(buckets(series, across), series.top, height * down)
    levels = [0] * (across - len(levels)) + levels
    rows = []
    for row in range(height - 1, -1, -1):
        part = [min(max(level - row * down, 0), down) for level in levels]
        if glyphs == "braille":
            rows.append(_dots(part))
        else:
            marks = _BLOCKS if glyphs == "block" else _ASCII
            rows.append("".join(marks[level] for level in part))
    return rows


def _dots(part: Sequence[int]) -> str:
    found = []
    for at in range(0, len(part), 2):
        bits = sum(_LEFT[: part[at]]) + sum(_RIGHT[: part[at + 1]])
        found.append(chr(_BRAILLE + bits) if bits else " ")
    return "".join(found)


def draw(series: Series, width: int, height: int, glyphs: Glyphs, mark: str = "draw") -> list[Line]:
    """Caption and drawing: `height` rows of `width` cells."""
    caption = palette.spread(
        (("─ ", "dim"), (series.title, "bold"), (f", {series.span} ", "dim")),
        ((" now ", "dim"), (series.last, "bold"), (" ─", "dim")),
        width,
    )
    filled = tuple(
        ("─" * len(piece), "dim") if name == "" and not piece.strip() else (piece, name)
        for piece, name in caption
    )
    rows: list[Line] = [filled]
    body = max(height - 1, 0)
    for at, drawn in enumerate(plot(series, max(width - AXIS, 1), body, glyphs)):
        label = series.label if at == 0 else "0" if at == body - 1 else ""
        rows.append(((f"{label:>{AXIS - 1}}│", "dim"), (drawn, mark)))
    return rows[:height]


class Chart(Lines):
    """A chart that fills its place."""

    DEFAULT_CSS = "Chart { width: 1fr; height: 1fr; }"

    def __init__(self, *, id: str | None = None, mark: str = "draw") -> None:
        super().__init__(id=id)
        self._mark = mark

    def show_series(self, series: Series, glyphs: Glyphs) -> None:
        """Draw the series at the widget's size."""
        width, height = self.size
        if width and height:
            self.show(draw(series, width, height, glyphs, self._mark))
