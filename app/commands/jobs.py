"""`paddock jobs`: long work of this machine: list it, look at it, follow its log, cancel it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from app import errors, job_progress, session, terminal, words
from app.commands import options
from storage import job_logs, job_steps, jobs
from storage.job_steps import Step
from storage.jobs import Job
from storage.store import Store

app = options.group()

Number = Annotated[int, typer.Argument(metavar="JOB", min=1, help="As the list numbers them.")]


@app.command("list")
def every(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    as_json: options.Json = False,
) -> None:
    """The newest jobs, newest at the bottom."""
    terminal.run(_every(limit, as_json=as_json))


async def _every(limit: int, *, as_json: bool) -> None:
    async with session.reading() as s:
        found = (await jobs.tail(s, limit))[::-1]
    rows = [("JOB", "KIND", "TARGET", "STATE", "STEP", "DONE", "LEFT", "BY", "REASON")]
    rows += [
        (
            str(job.id),
            job.kind,
            job.target,
            job.state.value,
            job.step or words.UNKNOWN,
            job_progress.amount(job.progress),
            job_progress.eta(job.progress),
            job.actor,
            job.reason or "",
        )
        for job in found
    ]
    lines = words.table(rows, right=(0,)) if found else ["No jobs yet."]
    terminal.show(found, lines, as_json=as_json)


@app.command()
def show(id: Number, as_json: options.Json = False) -> None:
    """One job in full: its steps, its progress, why it waits or ended."""
    terminal.run(_show(id, as_json=as_json))


async def _show(id: int, *, as_json: bool) -> None:
    async with session.reading() as s:
        job, steps = await jobs.find(s, id), await job_steps.of(s, id)
    terminal.show({"job": job, "steps": steps}, described(job, steps), as_json=as_json)


def described(job: Job, steps: list[Step]) -> list[str]:
    """A job and its steps as lines."""
    progress = job.progress
    rows = [
        ("job", f"{job.id}, {job.kind} {job.target}"),
        ("state", job.state.value),
        ("reason", job.reason or words.UNKNOWN),
        ("asked", f"{words.clock(job.created_at_us)} by {job.actor}"),
        ("intent", words.whole(job.intent_id)),
        ("attempt", f"{job.attempt}, {job.failures} of {job.max_failures} failed in a row"),
        ("started", _clock(job.started_at_us)),
        ("ended", _clock(job.ended_at_us)),
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


def _clock(at_us: int | None) -> str:
    return words.UNKNOWN if at_us is None else words.clock(at_us)


@app.command()
def logs(
    id: Number,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more until the job ends.")
    ] = False,
) -> None:
    """The newest lines of a job's log."""
    terminal.run(_logs(id, follow=follow))


async def _logs(id: int, *, follow: bool) -> None:
    async with session.store() as store:
        try:
            job = await _tell_lines(store, id, follow=follow)
        except asyncio.CancelledError:
            raise errors.Waits(job_progress.leaving(id)) from None
        if follow:
            terminal.say(job_progress.sentence(job))


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
def cancel(
    id: Number, reason: options.Reason = "", yes: options.Yes = False, as_json: options.Json = False
) -> None:
    """Cancel a job: it removes what is half done and ends."""
    terminal.run(_change("jobs.cancel", id, "Cancel", reason, yes=yes, as_json=as_json))


@app.command()
def retry(id: Number, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Queue a failed or cancelled job again, from its first step."""
    terminal.run(_change("jobs.retry", id, "Retry", reason, yes=True, as_json=as_json))


async def _change(verb: str, id: int, what: str, reason: str, *, yes: bool, as_json: bool) -> None:
    async with session.reading() as s:
        job = await jobs.find(s, id)
    terminal.confirm(f"{what} job {id} ({job.kind} {job.target}).", yes=yes)
    done = await session.ask(verb, str(id), reason=reason)
    session.tell(done, as_json=as_json)
