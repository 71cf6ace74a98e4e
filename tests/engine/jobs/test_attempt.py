"""One attempt of a job: steps run once, ends are settled with the intent, crashes are resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.jobs import kinds, scratch
from engine.jobs.attempt import Attempt
from engine.jobs.scheduling import Plan
from storage import errors, intents, job_attempts, job_logs, job_steps, jobs, ledger
from storage import store as stores
from storage.control_socket import nudges
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.jobs import Job, State
from storage.store import Session, Store


class Box:
    """A home with jobs of the counting kind."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.home = store.home

    async def create(self, **arguments: str) -> Job:
        """A queued job that an intent asked for."""

        async def work(s: Session) -> Job:
            intent = await intents.accept(
                s, actor="kim", role="operator", verb="models.add", target="x", arguments={},
                at_us=1,
            )  # fmt: skip
            await intents.claim(s, verbs=["models.add"], by=jobs.CLAIMER, at_us=2)
            return await jobs.add(
                s, kind="counting", target="x", arguments=arguments, actor="kim",
                intent_id=intent, at_us=2, max_failures=3,
            )  # fmt: skip

        return await self.store.write(work)

    def attempt(self, job: Job) -> Attempt:
        """The attempt that the job is in."""
        return Attempt(
            self.home, self.store, job.id, now_us=lambda: 50, monotonic_us=clock.monotonic_us,
            plan=Plan(backoff_us=100, patience_us=300),
        )  # fmt: skip

    async def run(self, job: Job) -> Job:
        """Start the job as the node does, carry out one attempt, and read it again."""
        await self.store.write(lambda s: job_attempts.start(s, job.id, at_us=3))
        await self.attempt(job).run()
        return await self.find(job)

    async def find(self, job: Job) -> Job:
        """The job as it is now."""
        async with self.store.read() as s:
            return await jobs.find(s, job.id)

    async def intent(self, job: Job) -> intents.Intent:
        """The intent that asked for it."""
        async with self.store.read() as s:
            return await intents.find(s, job.intent_id or 0)

    async def until(self, job: Job, step: str) -> None:
        """Wait until the job works on a step."""
        async with asyncio.timeout(60):
            with nudges.listen(self.home, "test") as listener:
                while (await self.find(job)).step != step:
                    await listener.wait(0.2)

    def runs(self) -> list[int]:
        """How often each step ran."""
        counts = [self.home.root / f"{name}.count" for name in ("fetch", "verify", "register")]
        return [int(count.read_text()) if count.exists() else 0 for count in counts]


@pytest.fixture
async def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Box]:
    """A new home."""
    monkeypatch.setattr(kinds, "MODULES", {"counting": "tests.engine.jobs.counting_job"})
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    yield Box(store)
    await store.close()


async def test_steps_run_in_their_order_and_end_the_intent(box: Box) -> None:
    """The last step's result is the outcome; working files are gone, the log is kept."""
    job = await box.run(await box.create())
    assert (job.state, job.reason, box.runs()) == (State.SUCCEEDED, "Registered.", [1, 1, 1])
    intent = await box.intent(job)
    assert (intent.state, intent.outcome) == (intents.State.APPLIED, "Registered.")
    async with box.store.read() as s:
        said = [line.text for line in await job_logs.read(s, job.id)]
    assert said == [f"{name} in attempt 1" for name in ("fetch", "verify", "register")]
    assert not scratch.directory(box.home, job.id).exists()


async def test_a_refusal_ends_the_job_at_once(box: Box) -> None:
    """Another attempt would change nothing; the intent is refused with the same sentence."""
    job = await box.run(await box.create(verify="refuse"))
    assert (job.state, job.reason) == (State.FAILED, "There is no verify.")
    intent = await box.intent(job)
    assert (intent.state, intent.outcome) == (intents.State.REFUSED, "There is no verify.")
    assert not scratch.directory(box.home, job.id).exists()


async def test_a_fault_in_a_step_fails_the_job_and_says_where_to_look(box: Box) -> None:
    """Whatever a step raises, the job does not stay in between."""
    job = await box.run(await box.create(verify="break"))
    assert job.state is State.FAILED
    assert "ZeroDivisionError: verify" in (job.reason or "")
    assert (await box.intent(job)).state is intents.State.FAILED


async def test_what_failed_for_now_is_tried_again_at_the_same_step(box: Box) -> None:
    """Attempts are bounded, wait longer each time, and keep the results of earlier steps."""
    job = await box.create(verify="transient")
    waits = []
    for _ in range(2):
        job = await box.run(job)
        assert (job.state, job.reason) == (State.QUEUED, "No answer to verify.")
        assert scratch.directory(box.home, job.id).is_dir()
        waits.append(job.not_before_us - 50)
    job = await box.run(job)
    assert waits == [100, 200]
    assert (job.state, job.reason) == (
        State.FAILED,
        (
            "No answer to verify. Given up after 3 attempts in a row; "
            f"`paddock jobs retry {job.id}` continues within a day."
        ),
    )
    assert box.runs() == [1, 3, 0]
    assert scratch.directory(box.home, job.id).is_dir()


async def test_an_attempt_that_got_further_does_not_use_up_the_attempts(box: Box) -> None:
    """A download over a bad line, cut off again and again, arrives in the end."""
    job = await box.create(fetch="advance and fail")
    for _ in range(6):
        job = await box.run(job)
        assert (job.state, job.failures) == (State.QUEUED, 1)


async def test_a_running_job_is_cancelled_while_it_waits(box: Box) -> None:
    """Its step ends; no file is left, and nothing was registered."""
    job = await box.create(verify="wait")
    running = asyncio.create_task(box.run(job))
    await box.until(job, "verify")
    await box.store.write(lambda s: jobs.cancel(s, job.id, actor="sara", at_us=9))
    job = await asyncio.wait_for(running, 20)
    assert (job.state, job.reason) == (State.CANCELLED, "Cancelled by sara.")
    assert (await box.intent(job)).outcome == "Cancelled by sara."
    assert not scratch.directory(box.home, job.id).exists()


async def test_a_job_whose_node_stops_waits_for_the_next_one(box: Box) -> None:
    """SIGTERM is no failure: the job is queued again and keeps its working files."""
    job = await box.create(verify="wait")
    await box.store.write(lambda s: job_attempts.start(s, job.id, at_us=3))
    attempt = box.attempt(job)
    running = asyncio.create_task(attempt.run())
    await box.until(job, "verify")
    attempt.stop()
    await asyncio.wait_for(running, 20)
    job = await box.find(job)
    assert (job.state, job.failures, job.step) == (State.QUEUED, 0, "verify")
    assert scratch.directory(box.home, job.id).is_dir()
    assert (await box.intent(job)).ended_at_us is None


async def test_a_kind_that_this_version_does_not_know_is_refused(box: Box) -> None:
    """After a downgrade a job of a newer kind ends, with a sentence."""

    async def work(s: Session) -> Job:
        return await jobs.add(s, kind="newer", target="x", arguments={}, actor="kim", at_us=1)

    job = await box.run(await box.store.write(work))
    assert job.state is State.FAILED
    assert job.reason == "This version of Paddock has no jobs of the kind newer."


class Killed(BaseException):
    """What SIGKILL is to a process."""


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(at=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=4))
async def test_a_job_is_carried_out_once_however_often_its_process_is_killed(
    box: Box, at: list[tuple[int, bool]]
) -> None:
    """Killed before or after any of its writes, resumed by name: its effect is there once.

    A step whose result was recorded does not run again.
    """
    job = await box.create()
    recorded: dict[str, int] = {}
    for number, after in at:
        if (await box.find(job)).state is not State.QUEUED:
            break
        await box.store.write(lambda s: job_attempts.start(s, job.id, at_us=3))
        attempt = box.attempt(job)
        _die_at(attempt, number, after=after)
        try:
            await attempt.run()
        except Killed:
            held = await box.find(job)
            if held.state is State.RUNNING:  # as the node settles it
                await box.store.write(
                    lambda s, held=held: job_attempts.requeue(  # type: ignore[misc]
                        s, job.id, held.attempt, reason="It died.", failures=1, not_before_us=4,
                        at_us=4,
                    )
                )  # fmt: skip
        async with box.store.read() as s:
            for step in await job_steps.of(s, job.id):
                if step.ended_at_us is not None and isinstance(step.result, dict):
                    kept = recorded.setdefault(step.name, step.result["attempt"])
                    assert step.result["attempt"] == kept
    if (await box.find(job)).state is State.QUEUED:
        await box.run(job)
    job = await box.find(job)
    assert job.state is State.SUCCEEDED
    assert (await box.intent(job)).state is intents.State.APPLIED
    async with box.store.read() as s:
        effects = [e for e in await ledger.tail(s, 10_000) if e.verb == "registered"]
        ended = [e for e in await jobs.tail(s, 10_000) if e.state is State.SUCCEEDED]
    assert len(effects) == len(ended)


def _die_at(attempt: Attempt, number: int, *, after: bool) -> None:
    """Let the attempt's write number `number` be its last, done or not."""
    write, count = attempt._write, 0

    async def deadly(work: Any) -> Any:
        nonlocal count
        if count == number and not after:
            raise Killed
        result = await write(work)
        count += 1
        if count == number + 1 and after:
            raise Killed
        return result

    attempt._write = deadly  # type: ignore[method-assign]


async def test_a_second_process_of_one_attempt_does_nothing(box: Box) -> None:
    """Two processes that believe that they have the job: one has it."""
    job = await box.create()
    await box.store.write(lambda s: job_attempts.start(s, job.id, at_us=3))
    await box.store.write(lambda s: job_attempts.take(s, job.id, pid=1, steps=["fetch"], at_us=3))
    await box.attempt(job).run()
    assert box.runs() == [0, 0, 0]
    with pytest.raises(errors.Moved):
        await box.store.write(lambda s: job_attempts.beat(s, job.id, 2, at_us=4))
