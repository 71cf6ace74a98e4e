"""One run of a runbook as people look at it: its steps, live values beside what is expected.

Reads the store and draws nothing; commands and the screen show the same view. Imported by
`app.commands` and `app.reader`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from app import words
from runbooks import catalog, decisions, foresight, steps, undo_plan, values
from runbooks.probes import PROBES
from runbooks.steps import Runbook
from runbooks.values import Value
from storage import errors, run_events, run_steps, runs
from storage.home.paths import Home
from storage.past import runs as past_runs
from storage.run_events import Event
from storage.runs import Run, State
from storage.store import Session

_SIGNS = {
    "done": "✔", "skipped": "–", "failed": "✖", "undone": "←", "undoing": "▶", "passed": " ",
    "now": "▶", "": "○",
}  # fmt: skip
_SHOWN_EVENTS = 12


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the run.

    `state` is done, skipped, failed, undoing, undone, passed (a branch skipped it), now, or
    empty: not reached.
    `looked` is what it saw, `live` what its look sees at this moment, of the step that is next.
    `before` and `after` are its verify around the action; `measure` says of what.
    """

    name: str
    sentence: str
    state: str = ""
    probe: str = ""
    looked: Value = None
    live: Value = None
    expected: str | None = None
    measure: str = ""
    wanted: str | None = None
    before: Value = None
    after: Value = None
    effect: str = ""
    said: str = ""
    can_undo: bool = False


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A run with all that is shown of it."""

    run: Run
    title: str
    rows: tuple[Row, ...]
    events: tuple[Event, ...]
    people: tuple[str, ...]
    needs: str = ""


async def read(s: Session, home: Home, id: int, now_us: int) -> View:
    """The run with this number.

    Raises:
        NotFound: there is none.
    """
    run = await runs.find(s, id)
    events, steps = await run_events.of(s, run.id), await run_steps.of(s, run.id)
    return await _view(s, home, run, events, steps, now_us, decisions.needs(run))


async def read_at(s: Session, home: Home, id: int, at_us: int) -> View:
    """A run as it was at a past moment, without the live values, which are not recorded.

    Raises:
        NotFound: there is no such run, or it had not begun.
    """
    run = await past_runs.find(s, id, at_us)
    events = await past_runs.events_of(s, run.id, at_us)
    steps = await past_runs.steps_of(s, run.id, at_us)
    return await _view(s, home, run, events, steps, None)


async def _view(
    s: Session,
    home: Home,
    run: Run,
    events: Sequence[Event],
    steps: Iterable[run_steps.Step],
    now_us: int | None,
    needs: str = "",
) -> View:
    """Without `now_us` the live values are left out."""
    books = {} if run.book is not None else catalog.every(home)
    book = undo_plan.walked(run, books)
    known = {step.name: step for step in steps}
    rows = () if book is None else await _rows(s, book, run, known, now_us)
    people = list(dict.fromkeys(each.actor for each in events if each.actor != "runner"))
    return View(
        run=run,
        title=run.runbook if book is None else book.title,
        rows=rows,
        events=tuple(events),
        people=tuple(people or [run.actor]),
        needs=needs,
    )


async def _rows(
    s: Session, book: Runbook, run: Run, known: Mapping[str, run_steps.Step], now_us: int | None
) -> tuple[Row, ...]:
    rows = []
    passed_until: str | None = None
    for step in book.steps:
        passed = passed_until not in {None, step.name}
        passed_until = passed_until if passed else None
        at = known.get(step.name)
        if at is not None and at.goto is not None:
            passed_until = at.goto
        rows.append(await _row(s, book, step, run, at, now_us, passed=passed))
    return tuple(rows)


async def _row(
    s: Session, book: Runbook, step: steps.Step, run: Run, at: run_steps.Step | None,
    now_us: int | None, *, passed: bool,
) -> Row:  # fmt: skip
    """One step; `now_us` is None in the past, where nothing is looked at."""
    here = at is not None and at.ended_at_us is None and run.state in {State.RUNNING, State.WAITING}
    live = None
    if here and now_us is not None:
        live = await _live(s, step.look or step.verify, run, now_us)
    after = None if at is None else at.after
    if here and at is not None and at.intent_id is not None and after is None and now_us:
        after = await _live(s, step.verify, run, now_us)  # it is verified now
    effect = ""
    if here and at is not None and at.intent_id is None and now_us is not None:
        effect = await _effect(s, book, step, run, at)
    state = "passed" if passed else ""
    if at is not None:
        state = at.outcome.value if at.outcome else ("now" if here else "done")
    return Row(
        name=step.name,
        sentence=step.sentence,
        state=state,
        probe="" if step.look is None else step.look.probe,
        looked=None if at is None else at.looked,
        live=live,
        expected=_wanted(step.look, run),
        measure="" if step.verify is None else step.verify.probe,
        wanted=_wanted(step.verify, run),
        before=None if at is None else at.before,
        after=after,
        effect=effect,
        said="" if at is None else at.sentence or "",
        can_undo=step.undo is not None,
    )


async def _live(s: Session, look: steps.Look | steps.Verify | None, run: Run, now_us: int) -> Value:
    if look is None:
        return None
    try:
        of = values.filled(look.of, run.inputs)
        return await PROBES[look.probe](s, of, look.window_s, now_us // 1_000_000)
    except (errors.StorageError, KeyError):
        return None


async def _effect(s: Session, book: Runbook, step: steps.Step, run: Run, at: run_steps.Step) -> str:
    if step.ask is not None:
        return values.filled(step.ask.sentence, run.inputs)
    if step.do is None:
        return ""
    seen = {steps.LOOKED: at.looked, **values.typed(book, run.inputs)}
    try:
        return await foresight.effect(s, step.do, run.inputs, seen)
    except (errors.StorageError, KeyError, ValueError) as error:
        return f"cannot be foreseen: {error}"


def _wanted(look: steps.Look | steps.Verify | None, run: Run) -> str | None:
    if look is None or look.expected is None:
        return None
    return values.filled(look.expected, run.inputs)


def lines(view: View) -> list[str]:
    """The view as text."""
    run = view.run
    given = "".join(f"  {name}={value}" for name, value in run.inputs.items())
    state = run.state.value + (
        f", taken by {run.taken_by}" if run.taken_by and _is_open(run) else ""
    )
    out = [words.safe(f"run {run.id}  {run.runbook}{given}  {state}"), words.safe(view.title), ""]
    for number, row in enumerate(view.rows, 1):
        out += [words.safe(each) for each in row_lines(number, row)]
    if run.reason:
        out += ["", words.safe(run.reason)]
    if view.needs:
        out += ["", words.safe(view.needs)]
    out += ["", f"timeline ({', '.join(map(words.safe, view.people))})"]
    return out + [words.safe(each) for each in event_lines(view.events[-_SHOWN_EVENTS:])]


def row_lines(number: int, row: Row) -> list[str]:
    """One step: its name, what it saw and expects, what it changed or would change."""
    head = f"{_SIGNS.get(row.state, '?')} {number}. {row.name}  {row.sentence}"
    out = [head]
    if row.state in {"", "passed"}:
        return out
    if row.probe:
        said = f"{row.probe} {values.shown(row.looked)}"
        said += f" (expected {row.expected})" if row.expected else ""
        said += f", now {values.shown(row.live)}" if row.live is not None else ""
        out.append(f"     look    {said}")
    if row.effect:
        out.append(f"     would   {row.effect}")
    if row.measure and (row.before is not None or row.after is not None):
        ended = f" → {values.shown(row.after)}" if row.after is not None else ""
        said = f"{row.measure} {values.shown(row.before)}{ended} (expected {row.wanted})"
        out.append(f"     verify  {said}")
    looked = row.said.startswith(f"{row.probe} is ") and not row.effect
    if row.said and not (looked and row.state == "done" and not row.measure):
        out.append(f"     {row.state:<7} {row.said}")
    return out


def event_lines(events: Sequence[Event]) -> list[str]:
    """The timeline, oldest first."""
    return [f"{words.clock(each.at_us)}  {each.actor}  {each.words}" for each in events]


def _is_open(run: Run) -> bool:
    return run.state in {State.RUNNING, State.WAITING}
