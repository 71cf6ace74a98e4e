"""Reports an attempt while its steps run: progress and log lines, and whether to cancel it.

Imported by `engine.jobs.attempt`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from engine.jobs.context import Context
from storage import errors, job_attempts, job_logs, jobs
from storage.control_socket import nudges
from storage.jobs import Progress, State
from storage.store import Session, Store

REPORT_S: Final = 1.0
"""Progress and log lines are written at most this often."""
_HEARTBEAT_US: Final = 5_000_000

_log = structlog.get_logger("jobs")


class Reporter:
    """Writes the progress and the log lines of a context, and watches for a cancellation."""

    def __init__(
        self,
        context: Context,
        attempt: int,
        *,
        cancel: Callable[[], None],
        lost: Callable[[], None],
        monotonic_us: Callable[[], int],
        report_s: float,
    ) -> None:
        """`cancel` is called when the job is being cancelled, `lost` if another attempt runs."""
        self._context = context
        self._store = context.store
        self._id = context.job.id
        self._attempt = attempt
        self._cancel = cancel
        self._lost = lost
        self._monotonic_us = monotonic_us
        self._report_us = int(report_s * 1_000_000)
        self._reported: tuple[int, Progress | None] = (0, None)

    async def run(self) -> None:
        """Report until cancelled."""
        with nudges.listen(self._context.home, f"job-{self._id}") as listener:
            due = self._monotonic_us()
            while True:
                if await self._store.changed() and await asked_to_cancel(
                    self._store, self._id, self._attempt
                ):
                    self._cancel()
                if self._monotonic_us() >= due:
                    due = self._monotonic_us() + self._report_us
                    await self._beat()
                await listener.wait(max(0.0, (due - self._monotonic_us()) / 1_000_000))

    async def _beat(self) -> None:
        now, progress = self._monotonic_us(), self._context.measured()
        lines = self._context.take_lines()
        at_us, reported = self._reported
        if not lines and progress == reported and now - at_us < _HEARTBEAT_US:
            return

        async def work(s: Session) -> State:
            await job_logs.append(s, self._id, lines)
            return await job_attempts.beat(
                s, self._id, self._attempt, at_us=self._context.now_us(), progress=progress
            )

        try:
            state = await self._store.write(work, nudge=False)
        except errors.Unavailable as error:
            _log.warning("progress was not written", job=self._id, error=str(error))
            return
        except errors.Moved:
            self._lost()
            return
        self._reported = (now, progress)
        if state is State.CANCELLING:
            self._cancel()


async def asked_to_cancel(store: Store, id: int, attempt: int) -> bool:
    """Whether a job is being cancelled during this attempt."""
    async with store.read() as s:
        job = await jobs.find(s, id)
    return job.state is State.CANCELLING and job.attempt == attempt
