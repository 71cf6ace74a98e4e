"""`paddock runbooks`: watch a run, decide about its steps, hand it over, abort or undo it.

Imported by `app.commands.runbooks`, which holds the commands.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from app import (
    errors,
    job_progress,
    moments,
    run_view,
    runbook_lines,
    session,
    terminal,
    words,
)
from app.commands import options
from runbooks import catalog, start_request, undo_plan, values
from storage.home import clock
from storage.runs import State

app = options.group()

Number = Annotated[
    int, typer.Argument(metavar="RUN", min=1, help="As `paddock runbooks tail` numbers them.")
]
_WALK_S = 90.0


@app.command()
async def get(
    run: Number,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw it again whenever it changes.")
    ] = False,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Show a run. It lists steps with live values, timeline, and who decides."""
    if (at_us := moments.at(at)) is not None:
        if watch:
            raise errors.BadWord("--at shows a past moment: leave --watch out.")
        async with session.reading() as s:
            view = await run_view.read_at(s, session.home(), run, at_us)
        terminal.show(view, run_view.lines(view), as_json=as_json)
        return
    async with session.store() as store:
        while True:
            async with store.read() as s:
                view = await run_view.read(s, session.home(), run, clock.now_us())
            if as_json and watch:
                terminal.say(terminal.compact(view))
            elif as_json:
                terminal.show(view, (), as_json=True)
            else:
                if watch and sys.stdout.isatty():
                    sys.stdout.write("\x1b[H\x1b[2J")
                terminal.say("\n".join(run_view.lines(view)))
            if not watch or view.run.state not in {State.RUNNING, State.WAITING}:
                return
            try:
                await job_progress.changed(store)
            except asyncio.CancelledError:
                raise errors.Waits(f"Run {run} is still running.") from None


@app.command("next")
async def next_(
    run: Number,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Carry out the step at which a run waits. The run continues to its next stop."""
    view = await _view(run)
    effect = _here(view)
    agreed = session.agreed("runbooks.next", str(run), effect, reason, yes=yes)
    await _drive("runbooks.next", view, agreed.reason, as_json=as_json)


@app.command()
async def confirm(
    run: Number,
    note: Annotated[str, typer.Option("--note", help="What you did and found.")] = "",
    as_json: options.Json = False,
) -> None:
    """Confirm that the manual step at which a run waits was done."""
    await _drive("runbooks.confirm", await _view(run), "", as_json=as_json, note=note)


@app.command()
async def skip(run: Number, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Skip the step at which a run waits."""
    _explained(reason)
    await _drive("runbooks.skip", await _view(run), reason, as_json=as_json)


@app.command()
async def retry(run: Number, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Retry the step that failed. It looks again, and verifies only if its action was done."""
    await _drive("runbooks.retry", await _view(run), reason, as_json=as_json)


@app.command()
async def abort(run: Number, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """End a run. What its steps changed is kept; `paddock runbooks undo` reverts it."""
    _explained(reason)
    done = await session.ask("runbooks.abort", str(run), reason=reason, timeout_s=_WALK_S)
    session.report(done, as_json=as_json)


@app.command()
async def undo(
    run: Number,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Undo the steps of a run, the last one first."""
    try:
        async with session.reading() as s:
            book, inputs = await undo_plan.planned(s, catalog.every(session.home()), str(run))
    except start_request.Refused as refused:
        raise errors.AppError(str(refused)) from refused
    shown = "".join(
        values.filled(f"\n  {step.name}: {runbook_lines.do(step.do)}", inputs)
        for step in book.steps
        if step.do
    )
    agreed = session.agreed("runbooks.undo", str(run), f"{book.title}{shown}", reason, yes=yes)
    done = await session.ask("runbooks.undo", str(run), reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def note(
    run: Number,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What you saw, did or decided.")],
    as_json: options.Json = False,
) -> None:
    """Add a note to the timeline of a run. Everyone may, even after it has ended."""
    done = await session.ask("runbooks.note", str(run), {"text": text})
    session.report(done, as_json=as_json)


@app.command()
async def take(run: Number, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Take a run: from now on you decide for it. Its timeline says from whom you took it."""
    done = await session.ask("runbooks.take", str(run), reason=reason)
    session.report(done, as_json=as_json)


@app.command("hand-over")
async def hand_over(
    run: Number,
    to: Annotated[str, typer.Argument(metavar="PERSON", help="As `paddock ledger` names them.")],
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Hand a run over to a colleague, who then decides for it."""
    done = await session.ask("runbooks.hand_over", str(run), {"to": to}, reason=reason)
    session.report(done, as_json=as_json)


async def _view(run: int) -> run_view.View:
    async with session.reading() as s:
        return await run_view.read(s, session.home(), run, clock.now_us())


def _here(view: run_view.View) -> str:
    """What the step at which a run waits would do."""
    run = view.run
    row = _row(view)
    if row is None:
        return f"run {run.id} of {run.runbook} is {run.state.value}"
    return words.safe(f"run {run.id}, step {row.name}: {row.effect or row.sentence}")


def _row(view: run_view.View) -> run_view.Row | None:
    """The row of the step at which a run waits."""
    return {row.name: row for row in view.rows}.get(view.run.waits_at or "")


async def _drive(
    verb: str, view: run_view.View, reason: str, *, as_json: bool, note: str | None = None
) -> None:
    """Decide about the step that was seen, and follow the walk to its next stop."""
    run = view.run
    if run.state not in {State.RUNNING, State.WAITING}:
        raise errors.AppError(f"Run {run.id} has ended: it is {run.state.value}.")
    asked: dict[str, object] = {} if run.waits_at is None else {"step": run.waits_at}
    if note is not None:
        asked["note"] = note
    done = await session.ask(verb, str(run.id), asked, reason=reason, timeout_s=_WALK_S)
    session.report(done, as_json=as_json)


def _explained(reason: str) -> None:
    if not reason.strip():
        raise errors.BadWord("Say why with --reason; the timeline of the run quotes it.")
