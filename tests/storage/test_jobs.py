"""Jobs in the store: one attempt holds a job, every end ends its intent, nothing is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import errors, intents, job_attempts, job_logs, job_steps, jobs, ledger
from storage.jobs import Progress, State
from storage.store import Session, Store

STEPS = ("fetch", "verify", "register")


async def create(s: Session) -> jobs.Job:
    """A job that an intent asked for, as control creates it."""
    intent = await intents.accept(
        s, actor="kim", role="operator", verb="models.add", target="ops@1.0.0", arguments={},
        at_us=1,
    )  # fmt: skip
    await intents.claim(s, verbs=["models.add"], by=jobs.CLAIMER, at_us=2)
    return await jobs.add(
        s, kind="models.add", target="ops@1.0.0", arguments={"path": "/m.gguf"}, actor="kim",
        intent_id=intent, at_us=2,
    )  # fmt: skip


async def begin(s: Session) -> jobs.Job:
    """A job whose process has taken it."""
    job = await job_attempts.start(s, (await create(s)).id, at_us=3)
    return await job_attempts.take(s, job.id, pid=7, steps=STEPS, at_us=4)


async def test_a_job_and_its_intent_end_together(store: Store) -> None:
    """The outcome is one sentence, in both; each move has its ledger row."""

    async def work(s: Session) -> tuple[jobs.Job, intents.Intent, list[str]]:
        job = await begin(s)
        for name in STEPS:
            await job_attempts.begin_step(s, job.id, 1, name, at_us=5)
            await job_attempts.end_step(s, job.id, 1, name, {"of": name}, at_us=6)
        await job_attempts.succeed(s, job.id, 1, "ops@1.0.0 is registered.", at_us=7)
        told = [entry.verb for entry in await ledger.of(s, "job", str(job.id))]
        return await jobs.find(s, job.id), await intents.find(s, job.intent_id or 0), told

    job, intent, told = await store.write(work)
    assert (job.state, job.ended_at_us, job.pid) == (State.SUCCEEDED, 7, None)
    assert (intent.state, intent.outcome) == (intents.State.APPLIED, "ops@1.0.0 is registered.")
    assert told == ["succeeded", "running", "jobs.add"]


async def test_a_job_is_taken_by_one_process(store: Store) -> None:
    """A second process of the same attempt, or one of an earlier attempt, changes nothing."""
    job = await store.write(begin)
    with pytest.raises(errors.Moved, match="process 7"):
        await store.write(lambda s: job_attempts.take(s, job.id, pid=8, steps=STEPS, at_us=5))

    async def lose(s: Session) -> None:
        await job_attempts.requeue(
            s, job.id, 1, reason="it died", failures=1, not_before_us=5, at_us=5
        )
        await job_attempts.start(s, job.id, at_us=6)

    await store.write(lose)
    late: tuple[Callable[[Session], Awaitable[object]], ...] = (
        lambda s: job_attempts.beat(s, job.id, 1, at_us=7),
        lambda s: job_attempts.begin_step(s, job.id, 1, "fetch", at_us=7),
        lambda s: job_attempts.end_step(s, job.id, 1, "fetch", None, at_us=7),
        lambda s: job_attempts.succeed(s, job.id, 1, "done", at_us=7),
        lambda s: job_attempts.fail(s, job.id, 1, "no", at_us=7),
    )
    for write in late:
        with pytest.raises(errors.Moved, match="attempt 1 has lost it"):
            await store.write(write)


async def test_a_cancelled_job_does_not_succeed_any_more(store: Store) -> None:
    """Who cancels before the last step is recorded wins, and the intent says who it was."""
    job = await store.write(begin)
    await store.write(lambda s: jobs.cancel(s, job.id, actor="sara", at_us=5))
    with pytest.raises(errors.Moved, match="is cancelling, not running"):
        await store.write(lambda s: job_attempts.succeed(s, job.id, 1, "done", at_us=6))
    await store.write(lambda s: job_attempts.cancelled(s, job.id, 1, at_us=7))
    async with store.read() as s:
        ended, intent = await jobs.find(s, job.id), await intents.find(s, job.intent_id or 0)
    assert (ended.state, ended.reason) == (State.CANCELLED, "Cancelled by sara.")
    assert (intent.state, intent.outcome) == (intents.State.REFUSED, "Cancelled by sara.")


async def test_a_retried_job_begins_anew(store: Store) -> None:
    """Its files were removed when it failed, so no step counts as done; its intent stays ended."""

    async def work(s: Session) -> tuple[jobs.Job, list[job_steps.Step], intents.Intent]:
        job = await begin(s)
        await job_attempts.begin_step(s, job.id, 1, "fetch", at_us=5)
        await job_attempts.end_step(s, job.id, 1, "fetch", "x", at_us=6)
        await job_attempts.fail(s, job.id, 1, "No room.", at_us=7, refused=True)
        await jobs.retry(s, job.id, actor="sara", at_us=8)
        await job_attempts.start(s, job.id, at_us=9)
        for name in STEPS:
            await job_attempts.end_step(s, job.id, 2, name, name, at_us=10)
        await job_attempts.succeed(s, job.id, 2, "done", at_us=11)
        intent = await intents.find(s, job.intent_id or 0)
        return await jobs.find(s, job.id), await job_steps.of(s, job.id), intent

    async def retried(s: Session) -> list[job_steps.Step]:
        job = await begin(s)
        await job_attempts.end_step(s, job.id, 1, "fetch", "x", at_us=6)
        await job_attempts.fail(s, job.id, 1, "no room", at_us=7)
        await jobs.retry(s, job.id, actor="sara", at_us=8)
        return await job_steps.of(s, job.id)

    job, steps, intent = await store.write(work)
    assert (job.state, [step.result for step in steps]) == (State.SUCCEEDED, list(STEPS))
    assert (intent.state, intent.outcome) == (intents.State.REFUSED, "No room.")
    assert [step.ended_at_us for step in await store.write(retried)] == [None] * 3


async def test_a_log_keeps_its_newest_lines(store: Store) -> None:
    """However much a job says, so many lines are kept; they are read on from the last seen."""

    async def work(s: Session) -> tuple[list[job_logs.Line], list[job_logs.Line]]:
        job = await begin(s)
        for number in range(0, 12, 3):
            lines = [(each, f"line {each}") for each in range(number, number + 3)]
            await job_logs.append(s, job.id, lines, keep=5)
        kept = await job_logs.read(s, job.id)
        return kept, await job_logs.read(s, job.id, after=kept[2].id)

    kept, newer = await store.write(work)
    assert [line.text for line in kept] == [f"line {number}" for number in range(7, 12)]
    assert newer == kept[3:]


async def test_progress_tells_share_and_remaining_time(store: Store) -> None:
    """From what was done, of how much, at which rate; what is unknown is not guessed."""
    progress = Progress(done=30, total=120, unit="B", rate_per_s=45)
    assert (progress.share, progress.eta_us) == (0.25, 2_000_000)
    unknown = Progress(done=30, unit="B", rate_per_s=45)
    assert (unknown.share, unknown.eta_us) == (None, None)
    job = await store.write(begin)
    await store.write(lambda s: job_attempts.beat(s, job.id, 1, at_us=5, progress=progress))
    async with store.read() as s:
        assert (await jobs.find(s, job.id)).progress == progress


ACTS: dict[str, Callable[[Session, jobs.Job], Awaitable[object]]] = {
    "start": lambda s, job: job_attempts.start(s, job.id, at_us=9),
    "end step": lambda s, job: job_attempts.end_step(s, job.id, job.attempt, "fetch", 1, at_us=9),
    "succeed": lambda s, job: job_attempts.succeed(s, job.id, job.attempt, "done", at_us=9),
    "fail": lambda s, job: job_attempts.fail(s, job.id, job.attempt, "no", at_us=9),
    "requeue": lambda s, job: job_attempts.requeue(
        s, job.id, job.attempt, reason="r", failures=1, not_before_us=9, at_us=9
    ),
    "cancel": lambda s, job: jobs.cancel(s, job.id, actor="kim", at_us=9),
    "cancelled": lambda s, job: job_attempts.cancelled(s, job.id, job.attempt, at_us=9),
    "retry": lambda s, job: jobs.retry(s, job.id, actor="kim", at_us=9),
}

LEADS: dict[str, dict[State, State]] = {
    "start": {State.QUEUED: State.RUNNING},
    "end step": {State.RUNNING: State.RUNNING},
    "succeed": {State.RUNNING: State.SUCCEEDED},
    "fail": {State.RUNNING: State.FAILED},
    "requeue": {State.RUNNING: State.QUEUED},
    "cancel": {State.QUEUED: State.CANCELLED, State.RUNNING: State.CANCELLING},
    "cancelled": {State.CANCELLING: State.CANCELLED},
    "retry": {State.FAILED: State.QUEUED, State.CANCELLED: State.QUEUED},
}


class Crash(Exception):
    """The process died inside a transaction."""


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(st.tuples(st.sampled_from(sorted(ACTS)), st.booleans()), max_size=14))
async def test_a_job_only_goes_where_the_table_says_whatever_crashes(
    store: Store, acts: list[tuple[str, bool]]
) -> None:
    """In any order, with any transaction cut off before its commit: a model of it agrees.

    Its intent has ended exactly when the job has ended at least once.
    """
    job = await store.write(create)
    expected, ended = State.QUEUED, False
    for name, crashes in acts:

        async def work(s: Session, name: str = name, crashes: bool = crashes) -> None:
            await ACTS[name](s, await jobs.find(s, job.id))
            if crashes:
                raise Crash

        leads = LEADS[name].get(expected)
        try:
            await store.write(work)
        except Crash:
            assert leads is not None
        except errors.Moved:
            assert leads is None
        else:
            assert leads is not None
            expected = leads
            ended |= leads in {State.SUCCEEDED, State.FAILED, State.CANCELLED}
        async with store.read() as s:
            found: Any = await jobs.find(s, job.id)
            intent = await intents.find(s, job.intent_id or 0)
            queue = [each.id for each in await jobs.unfinished(s)]
        assert found.state is expected
        assert (intent.ended_at_us is not None) == ended
        assert (job.id in queue) == (expected in jobs.OPEN)
