"""What today cost: by service, arm, tenant or key, idle time apart, and against the budgets.

The left and right keys choose what a row is of. Imported by `app.screens.places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens.listed import LISTED, Listed
from app.snapshot import Query
from app.snapshot.cost import BudgetRow, By, CostRow, Part
from app.widgets import bar, machine, palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row

_ORDER: Final = tuple(By)
_BUDGETS: Final = 5  # below the bill of a small terminal
_LOW: Final = 30
_CELLS: Final = 6
_ROOMY: Final = 110


def columns(by: By, currency: str) -> tuple[Column, ...]:
    """As the command has them."""
    return (
        Column(title=by.value.upper(), width=18, most=40),
        Column(title="REQUESTS", width=9, right=True),
        Column(title="TOKENS", width=12, right=True),
        Column(title=currency, width=10, right=True),
        Column(title="SHARE", width=8, right=True),
        Column(title="PER 1K TOK", width=10, right=True),
    )


def row(each: CostRow) -> Row:
    """A row of the bill; idle time and the total belong to no requests."""
    ink = {Part.REQUESTS: "", Part.IDLE: "dim", Part.TOTAL: "bold"}[each.part]
    cells: tuple[Piece, ...] = tuple(
        (text, ink)
        for text in (each.name, each.requests, each.tokens, each.cost, each.share, each.kilo)
    )
    return Row(each.key, cells)


def budget(each: BudgetRow, width: int) -> Line:
    """One budget: how much is spent and, where there is room, when it is renewed."""
    ink = "bad" if each.state.startswith("spent") else "warn" if each.alarming else "dim"
    renewed = f"  until {words.clock(each.renewed_at_us)}" if width >= _ROOMY else ""
    line: Line = (
        (f" {words.pad(words.safe(each.name), 22)} ", ""),
        *machine.gauge(each.share, _CELLS),
        (f" {words.percent(each.share):>7}  {each.spent} of {each.limit}  ", ""),
        (f"{'▲ ' if each.alarming else ''}{each.state}", ink),
        (renewed, "dim"),
    )
    return palette.cut(line, width)


class Cost(Listed):
    """The bill of today."""

    where: ClassVar[str] = "cost"
    hints: ClassVar = (("← →", "by"),)
    acts: ClassVar = LISTED
    heading: ClassVar[str] = "COST OF TODAY"

    def __init__(self) -> None:
        super().__init__()
        self._by = By.SERVICE
        self._seen: snapshot.Cost | None = None

    def wanted(self) -> Query:
        """The bill by what was chosen."""
        return Query(place=self.where, cost_by=self._by.value)

    def take(self, current: snapshot.Snapshot) -> bool:
        """The bill."""
        if current.cost is None:
            return False
        self._seen = current.cost
        return True

    def columns(self) -> Sequence[Column]:
        """What was used, and what it costs."""
        seen = self._seen
        return () if seen is None else columns(seen.by, seen.currency)

    def rows(self) -> Sequence[Row]:
        """The dearest first, then idle time and the total."""
        return [] if self._seen is None else [row(each) for each in self._seen.rows]

    def caption(self) -> str:
        """So far, and by the end of the day."""
        seen = self._seen
        if seen is None:
            return ""
        return f"{seen.spent} so far, {seen.projected} by its end ({seen.currency})"

    def empty(self) -> str:
        """Nothing yet."""
        return "nothing was used today"

    def detail(self, width: int) -> list[Line]:
        """The budgets, then what has no price."""
        seen = self._seen
        if seen is None:
            return []
        most = _BUDGETS if self.size.height < _LOW else 4 * _BUDGETS
        found: list[Line] = [palette.rule(width, "BUDGETS", "`paddock budgets list`")]
        found += [budget(each, width) for each in seen.budgets[:most]]
        if (left := len(seen.budgets) - most) > 0:
            found.append(((f" … {words.counted(left, 'more budget')}", "dim"),))
        if not seen.budgets:
            found.append(((" none; `paddock budgets set key NAME 10` sets one", "dim"),))
        for note in seen.notes:
            found += bar.saying(note, "warn", width)
        return found

    def moved(self, key: str) -> bool:
        """Choose what a row is of, or move the cursor."""
        if key not in {"left", "right"}:
            return super().moved(key)
        at = _ORDER.index(self._by) + (1 if key == "right" else -1)
        self._by = _ORDER[at % len(_ORDER)]
        return True

    def copied(self) -> str:
        """The command that prints it."""
        return f"paddock cost --by {self._by.value}"
