"""A job as people read it: its line in a list, its bar, and following it until it ends.

On a terminal one line is drawn again and again; elsewhere a line is printed for each step and each
tenth of it. Leaving never stops a job. Imported by `app.commands` and the screen.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

from app import errors, progress_bar, terminal, words
from storage import jobs
from storage.jobs import Job, Progress, State
from storage.store import Store

_LOOK_S: Final = 0.25
_BAR: Final = 24
_TENTH: Final = 10


def amount(counted: Progress | None) -> str:
    """How much of the step is done."""
    if counted is None:
        return words.UNKNOWN
    return progress_bar.amount(counted.done, counted.total, counted.unit)


def rate(counted: Progress | None) -> str:
    """The measured rate."""
    return words.UNKNOWN if counted is None else progress_bar.rate(counted.rate_per_s, counted.unit)


def eta(counted: Progress | None) -> str:
    """The time that is left at the measured rate, or a dash."""
    return words.UNKNOWN if counted is None else words.brief(counted.eta_us)


def sentence(job: Job) -> str:
    """What became of a job, or what it is doing."""
    if job.state is State.RUNNING and job.step is not None:
        share = None if job.progress is None else job.progress.share
        how = "" if share is None else f" {words.percent(int(share * 100) / 100)}"
        return f"Job {job.id} is running: {job.step}{how}."
    reason = f": {job.reason}" if job.reason else "."
    return f"Job {job.id} {jobs.how(job.state)}{reason}"


def leaving(id: int) -> str:
    """What is printed for a person who stops watching."""
    return (
        f"Job {id} keeps running. `paddock jobs logs -f {id}` follows it, "
        f"`paddock jobs cancel {id}` cancels it."
    )


async def follow(store: Store, id: int, *, quiet: bool = False) -> Job:
    """Show a job's progress until it ends; the job as it ended.

    Raises:
        errors.Waits: the person stopped watching (^C); the job keeps running.
    """
    view = _Silent() if quiet else _Line() if sys.stdout.isatty() else _Plain()
    try:
        while True:
            async with store.read() as s:
                job = await jobs.find(s, id)
            view.show(job)
            if job.state not in jobs.OPEN:
                return job
            await changed(store)
    except asyncio.CancelledError:
        raise errors.Waits(leaving(id)) from None
    finally:
        view.end()


async def changed(store: Store, timeout_s: float = 5.0) -> None:
    """Wait until anything in the store changed, or the time is up."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        await asyncio.sleep(_LOOK_S)
        if await store.changed():
            return


class _Silent:
    """Shows nothing, for scripts that read JSON."""

    def show(self, job: Job) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Nothing to end."""


class _Line(_Silent):
    """One line of the terminal, drawn again when it changes."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, job: Job) -> None:
        """Draw the step with its bar; short steps need none."""
        counted = job.progress
        if job.state not in jobs.OPEN or counted is None or counted.share is None:
            return
        self._draw(
            f"{job.step or job.state.value}  {progress_bar.bar(counted.share, _BAR)}  "
            f"{amount(counted)}  {rate(counted)}  {eta(counted)} left"
        )

    def end(self) -> None:
        """Clear the line."""
        self._draw("")

    def _draw(self, text: str) -> None:
        if text != self._shown:
            sys.stdout.write(f"\r\x1b[K{words.safe(text)}")
            sys.stdout.flush()
            self._shown = text


class _Plain(_Silent):
    """Lines for pipes and logs: one for each tenth of a step that is counted."""

    def __init__(self) -> None:
        self._shown: tuple[str, int] | None = None

    def show(self, job: Job) -> None:
        """Print a line when a tenth more is done."""
        counted = job.progress
        if job.state not in jobs.OPEN or counted is None or not counted.share:
            return
        now = (job.step or "", int(counted.share * _TENTH))
        if now != self._shown:
            self._shown = now
            terminal.say(f"{job.step}: {now[1] * _TENTH} %, {amount(counted)}, {eta(counted)} left")
