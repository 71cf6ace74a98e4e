"""Runbooks and runs as the list and the place of a run show them."""

from __future__ import annotations

import asyncio

from app import run_view, snapshot
from runbooks import catalog, steps
from runbooks.steps import Runbook
from storage import runs
from storage.home.paths import Home
from storage.past import runs as past_runs
from storage.runs import Run
from storage.store import Session

_RUNS = 100


async def read(s: Session, home: Home) -> snapshot.Runbooks:
    """The newest runs, and all runbooks."""
    known = await asyncio.to_thread(catalog.every, home)
    return snapshot.Runbooks(
        runs=tuple(row(run) for run in await runs.tail(s, _RUNS)),
        books=tuple(_book(name, book) for name, book in known.items()),
    )


async def read_at(s: Session, home: Home, at_us: int) -> snapshot.Runbooks:
    """The newest runs of a past moment, and the current runbooks: their files have no history."""
    known = await asyncio.to_thread(catalog.every, home)
    return snapshot.Runbooks(
        runs=tuple(row(run) for run in await past_runs.tail(s, at_us, _RUNS)),
        books=tuple(_book(name, book) for name, book in known.items()),
    )


async def full(s: Session, home: Home, id: int, now_us: int) -> snapshot.BookRun:
    """One run with its steps and its timeline.

    Raises:
        NotFound: there is no such run.
    """
    return _full(await run_view.read(s, home, id, now_us))


async def full_at(s: Session, home: Home, id: int, at_us: int) -> snapshot.BookRun:
    """One run as it was at a past moment.

    Raises:
        NotFound: there is no such run, or it had not begun.
    """
    return _full(await run_view.read_at(s, home, id, at_us))


def _full(view: run_view.View) -> snapshot.BookRun:
    here = {each.name: each for each in view.rows}.get(view.run.waits_at or "")
    return snapshot.BookRun(
        row=row(view.run),
        title=view.title,
        steps=tuple(
            snapshot.RunStep(
                name=each.name,
                sentence=each.sentence,
                state=each.state,
                lines=tuple(line.strip() for line in run_view.row_lines(number, each)[1:]),
            )
            for number, each in enumerate(view.rows, 1)
        ),
        events=tuple((each.at_us, each.actor, each.words) for each in view.events),
        people=view.people,
        effect="" if here is None else here.effect or here.sentence,
    )


def row(run: Run) -> snapshot.RunRow:
    """One run in the list."""
    return snapshot.RunRow(
        id=run.id,
        runbook=run.runbook,
        inputs="  ".join(f"{name}={value}" for name, value in run.inputs.items()),
        state=run.state.value,
        waits_for="" if run.waits_for is None else run.waits_for.value,
        waits_at=run.waits_at or "",
        taken_by=run.taken_by or "",
        actor=run.actor,
        began_at_us=run.began_at_us,
        ended_at_us=run.ended_at_us,
        reason=run.reason or "",
    )


def _book(name: str, book: Runbook | str) -> snapshot.BookRow:
    if isinstance(book, str):
        return snapshot.BookRow(name=name, title="", when="", steps=0, broken=book)
    return snapshot.BookRow(
        name=name,
        title=book.title,
        when=book.when,
        steps=len(book.steps),
        inputs=tuple(
            (key, asked.sentence, asked.default or "") for key, asked in book.inputs.items()
        ),
        fills=tuple(key for key, asked in book.inputs.items() if asked.probe is not None),
        content=steps.content(book),
    )
