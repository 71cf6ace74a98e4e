"""`paddock jobs`: long work of this machine: list it, look at it, follow its log, cancel it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

from app import errors, job_progress, listing, moments, session, terminal, words
from app.commands import options
from app.listing import Column
from storage import job_logs, job_steps, jobs
from storage.job_steps import Step
from storage.jobs import Job
from storage.past import jobs as past_jobs
from storage.store import Store

app = options.group()

Number = Annotated[int, typer.Argument(metavar="JOB", min=1, help="As the list numbers them.")]


COLUMNS: Final[tuple[Column[Job], ...]] = (
    Column("JOB", lambda job: str(job.id), right=True),
    Column("KIND", lambda job: job.kind),
    Column("TARGET", lambda job: job.target),
    Column("STATE", lambda job: job.state.value),
    Column("STEP", lambda job: words.known(job.step)),
    Column("DONE", lambda job: job_progress.amount(job.progress)),
    Column("LEFT", lambda job: job_progress.eta(job.progress)),
    Column("BY", lambda job: job.actor),
    Column("RESULT", lambda job: job.reason or "", below=True),
)


@app.command("list")
async def every(
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List jobs, newest at the bottom. --at leaves out their progress."""
    at_us = moments.at(at)
    async with session.reading() as s:
        known = jobs.tail(s, limit) if at_us is None else past_jobs.tail(s, at_us, limit)
        found = (await known)[::-1]
    listing.show(COLUMNS, found, as_json=as_json, empty="No jobs yet.")


@app.command()
async def show(id: Number, at: options.At = None, as_json: options.Json = False) -> None:
    """Show a job: its steps, its progress, why it waits or ended."""
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            job, steps = await jobs.find(s, id), await job_steps.of(s, id)
        else:
            job = await past_jobs.find(s, id, at_us)
            steps = await past_jobs.steps_of(s, id, at_us)
    terminal.show({"job": job, "steps": steps}, described(job, steps), as_json=as_json)


def described(job: Job, steps: list[Step]) -> list[str]:
    """A job and its steps as lines."""
    progress = job.progress
    rows = [
        ("job", f"{job.id}, {job.kind} {job.target}"),
        ("state", job.state.value),
        ("result", words.known(job.reason)),
        ("asked", f"{words.clock(job.created_at_us)} by {job.actor}"),
        ("intent", words.whole(job.intent_id)),
        ("attempt", f"{job.attempt}, {job.failures} of {job.max_failures} failed in a row"),
        ("started", words.clock(job.started_at_us)),
        ("ended", words.clock(job.ended_at_us)),
        ("done", job_progress.amount(progress)),
        ("rate", job_progress.rate(progress)),
        ("left", job_progress.eta(progress)),
    ]
    rows += [(f"step {step.position}", f"{step.name}: {_state(job, step)}") for step in steps]
    return words.table(rows)


def _state(job: Job, step: Step) -> str:
    if step.ended_at_us is not None:
        took = step.ended_at_us - (step.started_at_us or step.ended_at_us)
        return f"done in {words.duration(took)}"
    if step.name == job.step:
        return job.state.value
    return "to do"


@app.command()
async def logs(
    id: Number,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more until the job ends.")
    ] = False,
    at: options.At = None,
) -> None:
    """Print the newest lines of a job's log."""
    if (at_us := moments.at(at)) is not None:
        if follow:
            raise errors.BadWord("--at shows a past moment: leave --follow out.")
        await _tell_lines_at(id, at_us)
        return
    async with session.store() as store:
        try:
            job = await _tell_lines(store, id, follow=follow)
        except asyncio.CancelledError:
            raise errors.Waits(job_progress.leaving(id)) from None
        if follow:
            terminal.say(job_progress.sentence(job))


async def _tell_lines_at(id: int, at_us: int) -> None:
    """The lines that had been written by then and are kept."""
    async with session.reading() as s:
        await past_jobs.find(s, id, at_us)
        lines = await past_jobs.lines_of(s, id, at_us)
    for line in lines:
        terminal.say(f"{words.clock(line.at_us)}  {line.text}")


async def _tell_lines(store: Store, id: int, *, follow: bool) -> Job:
    last = 0
    while True:
        async with store.read() as s:
            job, lines = await jobs.find(s, id), await job_logs.read(s, id, after=last)
        for line in lines:
            terminal.say(f"{words.clock(line.at_us)}  {line.text}")
            last = line.id
        if not follow or job.state not in jobs.OPEN:
            return job
        await job_progress.changed(store)


@app.command()
async def cancel(
    id: Number, reason: options.Reason = "", yes: options.Yes = False, as_json: options.Json = False
) -> None:
    """Cancel a job: it removes what is half done and ends."""
    await _change("jobs.cancel", id, "Cancel", reason, yes=yes, as_json=as_json)


@app.command()
async def retry(id: Number, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Queue a failed or cancelled job again, from its first step."""
    await _change("jobs.retry", id, "Retry", reason, yes=True, as_json=as_json)


async def _change(verb: str, id: int, what: str, reason: str, *, yes: bool, as_json: bool) -> None:
    async with session.reading() as s:
        job = await jobs.find(s, id)
    effect = f"{what} job {id} ({job.kind} {job.target})."
    agreed = session.agreed(verb, str(id), effect, reason, yes=yes)
    done = await session.ask(verb, str(id), reason=agreed.reason)
    session.report(done, as_json=as_json)
