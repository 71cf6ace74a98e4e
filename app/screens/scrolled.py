"""A place that is one block of rows, scrolled by the arrow and page keys.

It draws what `_rows` holds and never reads the store. Imported by the places of one request, one
rollout and one prompt version.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual.widget import Widget

from app.screens.place import Place
from app.widgets.lines import Lines
from app.widgets.palette import Line


class Scrolled(Place):
    """Rows that may be more than fit; the last row on screen says how many are left."""

    def __init__(self) -> None:
        super().__init__()
        self._top = 0
        self._rows: list[Line] = []

    def body(self) -> Iterable[Widget]:
        """One block of rows, with the name of the place as its id."""
        yield Lines(id=self.where)

    def moved(self, key: str) -> bool:
        """Scroll."""
        page = max(self.wide(self.where)[1] - 1, 1)
        steps = {
            "up": -1, "down": 1, "pageup": -page, "pagedown": page,
            "home": -len(self._rows), "end": len(self._rows),
        }  # fmt: skip
        if key not in steps:
            return False
        self._top = max(self._top + steps[key], 0)
        self._scroll()
        return True

    def _scroll(self) -> None:
        height = self.wide(self.where)[1]
        self._top = min(self._top, max(len(self._rows) - height, 0))
        shown = self._rows[self._top : self._top + height]
        left = len(self._rows) - self._top - height
        if left > 0 and shown:
            shown[-1] = ((f" … {left + 1} more rows: down, page down", "dim"),)
        self.query_one(f"#{self.where}", Lines).show(shown)
