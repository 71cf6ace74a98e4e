"""Runs queued jobs in the process of the test; the node runs them in separate ones."""

from __future__ import annotations

from engine.jobs.attempt import Attempt
from storage import job_attempts, jobs
from storage.home import clock
from storage.jobs import Job, State
from storage.store import Store


async def run(store: Store) -> list[Job]:
    """Carry out one attempt of every queued job, oldest first; those jobs as they are then."""
    async with store.read() as s:
        queued = await jobs.unfinished(s, {State.QUEUED})
    return [await attempt(store, job) for job in queued]


async def attempt(store: Store, job: Job) -> Job:
    """Start a job and carry out the attempt; the job as it is then."""
    await store.write(lambda s: job_attempts.start(s, job.id, at_us=clock.now_us()))
    await Attempt(
        store.home, store, job.id, now_us=clock.now_us, monotonic_us=clock.monotonic_us
    ).run()
    async with store.read() as s:
        return await jobs.find(s, job.id)
