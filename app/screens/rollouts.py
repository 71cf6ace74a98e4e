"""The rollouts, newest first, with their phase; below, what the one under the cursor waits for.

Its keys lead a rollout on or take it back, confirmed like every change; enter opens its tree.
Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from app import snapshot, words
from app.screens import leading
from app.screens.place import Offer, Place, Program
from app.widgets import bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row, Table
from storage import splits

_PHASES: Final = {
    "Healthy": ("● Healthy", "good"),
    "Progressing": ("○ Progressing", "draw"),
    "Paused": ("△ Paused", "warn"),
    "Degraded": ("▲ Degraded", "bad"),
}
_WORD: Final = 14
_WHY: Final = 3  # rows of a reason below the list; the tree has all of it

COLUMNS: Final = (
    Column(title="#", width=5, right=True),
    Column(title="SERVICE", width=10, most=24),
    Column(title="CHANGE", width=9),
    Column(title="PHASE", width=13),
    Column(title="STEP", width=5, right=True),
    Column(title="WEIGHT", width=7, right=True),
    Column(title="SINCE", width=6, right=True),
    Column(title="BY", width=8, rank=2, most=16),
    Column(title="WHY", width=12, rank=1, most=80),
)


def phase(row: snapshot.RolloutRow) -> Piece:
    """The phase with its sign."""
    return _PHASES.get(row.phase, (row.phase, ""))


def row(rollout: snapshot.RolloutRow, now_us: int) -> Row:
    """One rollout as a row."""
    step = words.UNKNOWN if rollout.step is None else f"{rollout.step}/{rollout.steps}"
    weight = rollout.weight_bp
    cells: tuple[Piece, ...] = (
        (str(rollout.id), "bold"),
        (rollout.service, ""),
        (rollout.change, ""),
        phase(rollout),
        (step if rollout.under_way else words.UNKNOWN, ""),
        (words.UNKNOWN if weight is None else splits.percent(weight), ""),
        (words.age(max(now_us - rollout.moved_at_us, 0)), "dim"),
        (rollout.started_by, "dim"),
        (rollout.sentence, "dim"),
    )
    return Row(str(rollout.id), cells)


def detail(rollout: snapshot.RolloutRow, now_us: int, width: int) -> list[Line]:
    """What a rollout waits for, or how it ended."""
    about = f"{rollout.change} · {rollout.strategy} · {rollout.state}"
    rows: list[Line] = [palette.rule(width, f"{rollout.service} {rollout.id}", about)]
    if rollout.under_way and rollout.doing:
        said = f" step {rollout.step} of {rollout.steps}: {rollout.doing}"
        rows.append(((said, ""),))
    why = bar.wrapped(words.safe(rollout.sentence), max(width - 2, 1))
    tone = {"Degraded": "bad", "Paused": "warn"}.get(rollout.phase, "")
    rows += [((f" {each}", tone),) for each in why[:_WHY]]
    if len(why) > _WHY:
        rows[-1] = ((f" {why[_WHY - 1]} …", tone),)
    if rollout.until_us is not None:
        left = words.duration(max(rollout.until_us - now_us, 0))
        rows.append(((f" until {words.clock(rollout.until_us)} at most, {left} from now", "dim"),))
    return rows


def offered(program: Program, rollout: snapshot.RolloutRow | None, width: int) -> list[Line]:
    """The keys of a rollout: the effect of each, or why it cannot be used now."""
    found = []
    for name, key, word in leading.VERBS:
        offer = leading.offer(name, rollout)
        why = program.refusal(name, offer)
        effect = "" if offer is None else offer.effect.partition("): ")[2]
        found.append((key, word, why, effect))
    same = {why for _, _, why, _ in found}
    if len(same) == 1 and "" not in same:
        keys = " ".join(key for key, *_ in found)
        return [palette.cut(((f" {keys} ", "dim"), (f" {same.pop()}", "dim")), width)]
    return [
        palette.cut(
            (
                (f" {key} ", "dim" if why else "key"),
                (f"{word:<{_WORD}}", "dim" if why else ""),
                (why or effect, "dim"),
            ),
            width,
        )
        for key, word, why, effect in found
    ]


class Rollouts(Place):
    """The list."""

    where: ClassVar[str] = "rollouts"
    hints: ClassVar = (("enter", "tree"), ("f", "promote"), ("x", "abort"), ("u", "undo"))

    def __init__(self) -> None:
        super().__init__()
        self._shown: Sequence[snapshot.RolloutRow] = ()
        self._now_us = 0

    def body(self) -> Iterable[Widget]:
        """What is listed, the list, and the rollout under the cursor."""
        yield Lines(id="title", grows=True)
        yield Table(id="list")
        yield Lines(id="detail", grows=True)

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw the list."""
        if current.rollouts is None:
            said = current.header.error or ("" if self._shown else "reading the store…")
            if said:
                self.query_one("#title", Lines).show(bar.saying(said, "bold", self.size.width))
            return
        self._shown, self._now_us = current.rollouts, current.header.now_us
        under_way = sum(each.under_way for each in self._shown)
        title = palette.rule(self.size.width, "ROLLOUTS", f"{under_way} under way")
        self.query_one("#title", Lines).show([title])
        self.query_one(Table).show_table(
            COLUMNS,
            [row(each, self._now_us) for each in self._shown],
            "no rollouts yet: `paddock rollouts start SERVICE --to r2` starts one",
        )
        self._detail()

    def _detail(self) -> None:
        rollout, width = self._rollout(), self.size.width
        rows: list[Line] = []
        if rollout is not None:
            rows = [*detail(rollout, self._now_us, width), *offered(self.program, rollout, width)]
        self.query_one("#detail", Lines).show([palette.cut(each, width) for each in rows])

    def _rollout(self) -> snapshot.RolloutRow | None:
        cursor = self.query_one(Table).cursor
        return next((each for each in self._shown if str(each.id) == cursor), None)

    def moved(self, key: str) -> bool:
        """Move the cursor."""
        if not self.query_one(Table).key(key):
            return False
        self._detail()
        return True

    def opened(self) -> tuple[str, str] | None:
        """The rollout under the cursor."""
        cursor = self.query_one(Table).cursor
        return ("rollout", cursor) if cursor else None

    def copied(self) -> str:
        """The service of the rollout under the cursor, as commands take it."""
        rollout = self._rollout()
        return "" if rollout is None else rollout.service

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Lead the rollout under the cursor on, or take it back."""
        del typed
        return leading.offer(name, self._rollout())
