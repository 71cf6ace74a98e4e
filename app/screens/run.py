"""One run of a runbook, walked by keys: live values beside what is expected, effects, timeline.

It shows who holds the run and who acted. Imported by `app.tui`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from app import snapshot, words
from app.screens import offered, walking
from app.screens.place import Offer
from app.screens.scrolled import Scrolled
from app.snapshot import Query
from app.widgets import bar, palette
from app.widgets.palette import Line

_SIGNS: Final = {
    "done": ("✔", "good"), "skipped": ("–", "dim"), "failed": ("✖", "bad"), "now": ("▶", "bold"),
    "undone": ("←", "warn"), "undoing": ("▶", "warn"), "passed": ("·", "dim"), "": ("○", "dim"),
}  # fmt: skip
_ASCII: Final = {"✔": "+", "–": "-", "✖": "x", "▶": ">", "←": "<", "·": ".", "○": "o"}
_ENDED: Final = frozenset({"done", "skipped", "undone"})
_LABEL: Final = 9
_WHO: Final = 10
_AROUND: Final = 4  # rows of the header, the bar and the keys


def head(run: snapshot.BookRun, width: int) -> list[Line]:
    """What it is, who has it, what it waits for."""
    row = run.row
    about = words.cut(words.safe(row.inputs), max(width - len(row.runbook) - 16, 1))
    state = row.state + (f" at {row.waits_at}" if row.waits_at else "")
    tone = {"waiting": "warn", "failed": "bad", "running": "good"}.get(row.state, "bold")
    holder = f"   taken by {row.taken_by}" if row.taken_by and row.open else ""
    others = [each for each in run.people if each != row.taken_by]
    seen = f"   with {', '.join(others)}" if others else ""
    rows: list[Line] = [
        palette.rule(width, f"RUN {row.id}  {words.safe(row.runbook)}", about),
        ((f" {state}", tone), (words.safe(holder), "bold"), (words.safe(seen), "dim")),
    ]
    if row.reason:
        said = bar.wrapped(words.safe(row.reason), max(width - 2, 1))
        rows += [((f" {each}", "bad" if row.state == "failed" else ""),) for each in said]
    return rows


def steps(
    run: snapshot.BookRun, width: int, *, ascii_only: bool = False, brief: bool = False
) -> list[Line]:
    """The steps; those that have begun with what they saw and did.

    With `brief` a step that has ended has one row of that, its values before and after if it has
    them, so that the step at which the run waits is on the screen.
    """
    rows: list[Line] = [palette.rule(width, "STEPS", "value, expected, effect")]
    for number, step in enumerate(run.steps, 1):
        sign, tone = _SIGNS.get(step.state, ("?", ""))
        sign = _ASCII.get(sign, sign) if ascii_only else sign
        here = "bold" if step.name == run.row.waits_at or step.state == "now" else ""
        rows.append(
            (
                (f" {sign} ", tone),
                (f"{number}. {step.name:<12} ", here or tone),
                (words.safe(step.sentence), here or "dim"),
            )
        )
        for line in _brief(step) if brief else step.lines:
            label, _, text = line.partition(" ")
            said = bar.wrapped(words.safe(text.strip()), max(width - _LABEL - 5, 1))
            said = said[:1] if brief and step.state in _ENDED else said
            ink = {"would": "warn", "failed": "bad"}.get(label, "")
            rows += [
                ((f"    {'' if at else label:<{_LABEL}}", "dim"), (part, ink))
                for at, part in enumerate(said)
            ]
    return rows


def _brief(step: snapshot.RunStep) -> tuple[str, ...]:
    """What is worth a row of a step that has ended; all of another one."""
    if step.state not in _ENDED:
        return step.lines
    verified = tuple(line for line in step.lines if line.startswith("verify"))
    return verified or step.lines[:1]


def timeline(run: snapshot.BookRun, width: int) -> list[Line]:
    """What happened, newest first."""
    rows: list[Line] = [palette.rule(width, "TIMELINE", "UTC")]
    for at_us, who, what in reversed(run.events):
        first = f" {words.clock(at_us)[11:19]}  {words.pad(words.safe(who), _WHO)} "
        said = bar.wrapped(words.safe(what), max(width - words.width(first) - 1, 1))
        blank = " " * words.width(first)
        rows += [((blank if n else first, "dim"), (part, "")) for n, part in enumerate(said)]
    return rows


class Run(Scrolled):
    """One run."""

    where: ClassVar[str] = "run"
    hints: ClassVar = (
        ("G", "continue"),
        ("S", "skip"),
        ("N", "note"),
        ("x", "abort"),
        ("u", "undo"),
    )
    acts: ClassVar = (*(verb.name for verb in walking.VERBS), "look.copy")

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._run: snapshot.BookRun | None = None

    def wanted(self) -> Query:
        """That run."""
        return Query(place=self.where, run=self._number)

    def path(self) -> str:
        """With its number."""
        return f"pulse › runbooks › {self._number}"

    def open(self, what: str) -> None:
        """Show another one from now on."""
        self._number, self._run, self._top, self._rows = int(what), None, 0, []

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw as much as there is room for."""
        found, width = current.run, self.size.width
        if found is not None and found.row.id == self._number:
            self._run = found
            ascii_only = self.program.glyphs == "ascii"
            verbs = walking.shown(found.row)
            keys = offered.rows(self.program, verbs, self.offer, width)
            walked = steps(found, width, ascii_only=ascii_only)
            above = head(found, width)
            if len(above) + len(keys) + len(walked) > self.size.height - _AROUND:
                keys = offered.brief(self.program, verbs, self.offer, width)
                walked = steps(found, width, ascii_only=ascii_only, brief=True)
            rows = (*above, *keys, *walked, *timeline(found, width))
            self._rows = [palette.cut(line, width) for line in rows]
        elif not self._rows or current.missing:
            text = current.header.error or current.missing or "reading the store…"
            self._rows = [(), *bar.saying(text, "bold", width)]
        self._scroll()

    def copied(self) -> str:
        """Its number."""
        return str(self._number)

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """Lead it on, take it, or take back what it did."""
        run = self._run
        if run is None:
            return walking.offer(name, None)
        return walking.offer(name, run.row, run.effect, typed)
