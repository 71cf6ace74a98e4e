"""Jobs that are cancelled and retried."""

from __future__ import annotations

from typing import Any

import pytest

from storage import jobs
from storage.intents import State
from tests.engine.control.desks import Desk
from tests.home_fixtures import WEIGHTS


async def test_a_job_that_waits_is_cancelled_with_its_intent(furnished: Desk) -> None:
    """Both say who did it; cancelled once more, there is nothing to cancel; a retry queues it."""
    asked: dict[str, Any] = {"model": "again", "version": "1.0.0", "path": str(WEIGHTS)}
    adding = await furnished.accept("models.add", "again", **asked)
    await furnished.control.settle()
    async with furnished.store.read() as session:
        job = await jobs.of_intent(session, adding)
    assert job is not None
    cancelled = await furnished.do("jobs.cancel", str(job.id))
    assert cancelled.outcome == f"Job {job.id} (add_model again@1.0.0) is cancelled."
    ended = await furnished.ended(adding)
    assert (ended.state, ended.outcome) == (State.REFUSED, "Cancelled by kim.")
    again = await furnished.do("jobs.cancel", str(job.id))
    assert (again.state, again.outcome) == (
        State.REFUSED,
        f"Job {job.id} was cancelled; there is nothing to cancel.",
    )
    retried = await furnished.do("jobs.retry", str(job.id))
    assert retried.outcome == f"Job {job.id} (add_model again@1.0.0) is queued again."
    async with furnished.store.read() as session:
        assert (await jobs.find(session, job.id)).state is jobs.State.SUCCEEDED


@pytest.mark.parametrize("verb", ["jobs.cancel", "jobs.retry"])
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("x", "'x' is not a job's number"),
        ("\u0661", "'\u0661' is not a job's number"),
        ("99", "no job 99; known: "),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_job_that_is_not_there_is_refused(
    shared: Desk, verb: str, target: str, said: str
) -> None:
    """With where to look."""
    intent = await shared.do(verb, target)
    assert intent.state is State.REFUSED
    assert said in (intent.outcome or "")
