"""The rollouts, newest first, with their phase; below, what the one under the cursor waits for.

Its keys lead a rollout on or take it back, confirmed like every change; enter opens its tree.
Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens import leading
from app.screens.listed import LISTED
from app.screens.numbered import Numbered
from app.screens.place import Offer
from app.widgets import bar, palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row
from storage import splits

_PHASES: Final = {
    "Healthy": ("● Healthy", "good"),
    "Progressing": ("○ Progressing", "draw"),
    "Paused": ("△ Paused", "warn"),
    "Degraded": ("▲ Degraded", "bad"),
}
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


class Rollouts(Numbered[snapshot.RolloutRow]):
    """The list."""

    where: ClassVar[str] = "rollouts"
    hints: ClassVar = (("enter", "tree"), ("f", "promote"), ("x", "abort"), ("u", "undo"))
    acts: ClassVar = ("look.open", *(verb.name for verb in leading.VERBS), *LISTED)
    twins: ClassVar = {"look.open": "rollouts get SERVICE -w"}
    heading: ClassVar[str] = "ROLLOUTS"
    verbs: ClassVar = leading.VERBS
    opens: ClassVar[str] = "rollout"

    def listed(self, current: snapshot.Snapshot) -> Sequence[snapshot.RolloutRow] | None:
        """The rollouts."""
        return current.rollouts

    def columns(self) -> Sequence[Column]:
        """Which they are, where they are, why they wait."""
        return COLUMNS

    def row(self, each: snapshot.RolloutRow) -> Row:
        """One rollout."""
        return row(each, self.now_us)

    def caption(self) -> str:
        """How many are under way."""
        return f"{sum(each.under_way for each in self.shown)} under way"

    def empty(self) -> str:
        """How one starts."""
        return (
            "no rollouts yet: n in releases (v), or `paddock rollouts start SERVICE --to r2`, "
            "starts one"
        )

    def detail(self, width: int) -> list[Line]:
        """What the rollout under the cursor waits for, or how it ended."""
        rollout = self.under()
        return [] if rollout is None else detail(rollout, self.now_us, width)

    def copied(self) -> str:
        """The service of the rollout under the cursor, as commands take it."""
        rollout = self.under()
        return "" if rollout is None else rollout.service

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Lead the rollout under the cursor on, or take it back."""
        return leading.offer(name, self.under(), self.shown, typed)
