"""The last requests, newest first; `/` filters, enter opens one.

With the cursor on the first row the list follows; moved down it holds still, so that no row slips
away under the cursor while requests keep coming. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from app import snapshot, words
from app.screens.place import Place
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Piece
from app.widgets.table import Column, Row, Table

_STEP: Final = 200
_MOST: Final = 2_000

COLUMNS: Final = (
    Column(title="ARRIVED", width=8),
    Column(title="ID", width=10, rank=1, most=24),
    Column(title="SERVICE", width=10, most=36),
    Column(title="ARM", width=5),
    Column(title="OUTCOME", width=9),
    Column(title="WHY", width=12, rank=3, most=24),
    Column(title="CLASS", width=11, rank=4),
    Column(title="IN", width=6, right=True),
    Column(title="OUT", width=5, right=True),
    Column(title="QUEUED", width=7, right=True, rank=2),
    Column(title="TTFT", width=7, right=True),
    Column(title="LATENCY", width=7, right=True),
    Column(title="FROM", width=6),
)


def row(request: snapshot.RequestRow) -> Row:
    """One request as a row."""
    bad = {"failed": "bad", "refused": "warn", "cancelled": "dim"}.get(request.outcome, "")
    signs = {"failed": "▲ failed", "refused": "△ refused"}
    cells: tuple[Piece, ...] = (
        (words.clock(request.at_us)[11:19], "dim"),
        (request.id.removeprefix("req_"), ""),
        (request.service, ""),
        ("–" if request.release is None else f"r{request.release}", "bold"),
        (signs.get(request.outcome, request.outcome), bad),
        (request.code, bad),
        (request.class_, ""),
        (str(request.prompt_tokens), ""),
        (str(request.completion_tokens), ""),
        (words.brief(request.queue_us), ""),
        (words.brief(request.ttft_us), ""),
        (words.brief(request.latency_us), "bold"),
        ("synth" if request.synthetic else "client", "dim"),
    )
    return Row(request.id, cells)


class Requests(Place):
    """The list."""

    where: ClassVar[str] = "requests"
    hints: ClassVar = (("enter", "open"), ("slash", "filter"))

    acts: ClassVar = ("look.open", "look.filter", "look.copy")
    twins: ClassVar = {"look.open": "requests show ID"}
    filter_hint: ClassVar[str] = "part of an id, a service, r1, failed; empty: all"

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._limit = _STEP
        self._held: Sequence[snapshot.RequestRow] | None = None
        self._newest = ""

    def body(self) -> Iterable[Widget]:
        """What is listed, and the list."""
        yield Lines(id="title", grows=True)
        yield Table(id="list")

    def wanted(self) -> Query:
        """The newest requests that pass the filter."""
        return Query(place=self.where, filter=self._filter, limit=self._limit)

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw the list; while it is held only its title counts what is new."""
        seen, list_ = current.requests, self.query_one(Table)
        if seen is None:
            said = current.header.error or ("" if list_.keys else "reading the store…")
            if said:
                self.query_one("#title", Lines).show(bar.saying(said, "bold", self.size.width))
            return
        if seen.filter != self._filter:
            return
        shown = seen.rows if self._held is None else self._held
        newer = 0
        if self._held:
            first = self._held[0].id
            newer = next((at for at, each in enumerate(seen.rows) if each.id == first), -1)
        if self._held is not None and len(seen.rows) > len(self._held) and newer == 0:
            self._held = shown = seen.rows  # older ones were asked for
        list_.show_table(COLUMNS, [row(each) for each in shown], self._empty(seen))
        if self._held is None:
            list_.move(-len(shown))
        self._title(seen, newer)

    def _empty(self, seen: snapshot.Requests) -> str:
        if seen.filter:
            return f"none of the newest 100 000 requests contains “{seen.filter}”"
        return "no request yet"

    def _title(self, seen: snapshot.Requests, newer: int) -> None:
        count = f"newest {len(seen.rows)}" if seen.more else f"all {len(seen.rows)}"
        state = "following"
        if self._held is not None:
            more = f"{newer} newer" if newer >= 0 else "many newer"
            state = f"held, {more} (home: follow)"
        filtered = f" containing “{seen.filter}”" if seen.filter else ""
        what = f"REQUESTS{filtered}"
        title = palette.rule(self.size.width, what, f"UTC · {count} · {state}")
        self.query_one("#title", Lines).show([title])

    def moved(self, key: str) -> bool:
        """Move the cursor; off the first row the list holds, back on it the list follows."""
        list_ = self.query_one(Table)
        before = list_.index
        if not list_.key(key):
            return False
        if list_.index == 0:
            self._held = None
        elif self._held is None:
            self._hold()
        if key in {"down", "pagedown", "end"} and before == list_.index:
            self._limit = min(self._limit + _STEP, _MOST)
        return True

    def _hold(self) -> None:
        current = getattr(self.app, "current", None)
        seen = current.requests if isinstance(current, snapshot.Snapshot) else None
        if seen is not None:
            keys = set(self.query_one(Table).keys)
            self._held = tuple(each for each in seen.rows if each.id in keys)

    def opened(self) -> tuple[str, str] | None:
        """The request under the cursor."""
        cursor = self.query_one(Table).cursor
        return ("request", cursor) if cursor else None

    def copied(self) -> str:
        """The id of the request under the cursor."""
        return self.query_one(Table).cursor or ""

    def filtered(self, text: str | None = None) -> str:
        """The text that rows contain."""
        if text is not None and text != self._filter:
            self._filter, self._held, self._limit = text, None, _STEP
        return self._filter

    def back(self) -> bool:
        """First the filter goes."""
        if not self._filter:
            return False
        self.filtered("")
        return True
