"""Writes to the terminal the cells that changed, from the first to the last, and nothing beside.

Textual's own partial update begins at the left edge of the widget, so one digit at the end of a
row costs the row. This reads what its compositor hands over for display (Textual is pinned
exactly; tests/bench/screen_bytes.py measures the difference). Imported by `app.tui` alone.
"""

from __future__ import annotations

from rich.console import Console
from rich.control import Control
from textual._compositor import ChopsUpdate


class Spans(ChopsUpdate):
    """The same update, cut on both sides."""

    def render_segments(self, console: Console) -> str:
        """Escape sequences for the changed spans of each row."""
        written: list[str] = []
        for y, begin, end in self.spans:
            # strict is not wanted: the compositor lists one end more than there are chops
            for chop_end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= end or chop_end <= begin:
                    continue
                left, right = max(begin, x), min(end, chop_end)
                written.append(Control.move_to(left, y).segment.text)
                written.append(strip.crop(left - x, right - x).render(console))
        return "".join(written)


def tight(update: object) -> object:
    """An update that writes less, where it is one that can."""
    if type(update) is ChopsUpdate:
        return Spans(update.chops, update.spans, update.chop_ends)
    return update
