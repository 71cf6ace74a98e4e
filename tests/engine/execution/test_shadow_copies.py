"""Copies for shadows: bounded, never waited for, and a fair comparison."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
import pytest_asyncio

from engine.backends.protocol import Backend
from engine.execution import failures, shadow_copies
from engine.execution.catalog import Catalog
from engine.execution.execute import Execution, Executor
from engine.execution.job import (
    Chat,
    Delta,
    Event,
    Finished,
    Job,
    Logprob,
    Message,
    Options,
    Score,
    Scored,
)
from engine.execution.shadow_copies import Asked, End, ShadowCopies
from engine.execution.snapshot import Shadow, Snapshot
from storage import releases, services, shadow_comparisons
from storage.home import clock
from storage.keys import Key, Role
from storage.releases import Release
from storage.requests import Class, Outcome, Request
from storage.shadow_comparisons import Comparison
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World
from tests.engine.execution import jobs

SHADOW: Final = Shadow(rollout=1, attempt=1, share_bp=10_000, stable=STABLE, candidate=CANDIDATE)
QUESTION: Final = Chat((Message("user", "Where is order 17?"),))


class Answers:
    """A backend that says a text for each release, or fails; `gate` holds the candidate back."""

    def __init__(self) -> None:
        self.said: dict[int, str | failures.Failure] = {STABLE: "It has shipped", CANDIDATE: "no"}
        self.gate = asyncio.Event()
        self.gate.set()
        self.scored: list[Score] = []
        self.scoring = True
        self.reason: str | None = None
        self.reached = asyncio.Semaphore(0)
        self.seen: list[Job] = []

    async def run(self, job: Job) -> AsyncIterator[tuple[Event, ...]]:
        """One delta and the end."""
        self.seen.append(job)
        said = self.said[job.release.number]
        if job.release.number == CANDIDATE:
            self.reached.release()
            await self.gate.wait()
        if isinstance(said, failures.Failure):
            raise said
        yield (Delta(0, said, 3, (), clock.monotonic_us()), Finished(0, "stop", 5, 3, 0, 7))

    async def score(self, score: Score) -> Scored:
        """Each byte is a token, a half as likely as certain."""
        self.scored.append(score)
        return Scored((Logprob(b"It", -1.0), Logprob(b" has", -2.0)), 5, 9, 1)

    def unready(self, release: Release) -> str | None:
        """As the test says."""
        del release
        return self.reason

    def scores(self, release: Release) -> bool:
        """As the test says."""
        del release
        return self.scoring


class Box:
    """An executor and a catalog with a shadow of everything, over a real store."""

    def __init__(self, world: World, snapshot: Snapshot) -> None:
        self.world = world
        self.backend = Answers()
        self.recorded: list[Request] = []
        self.pressed = False
        self.catalog = Catalog(world.store, cast("Any", None), on_change=lambda _: None)
        self.catalog.snapshot = snapshot
        self.executor = Executor(
            {"local": cast("Backend", self.backend)},
            record=lambda request, _: self.recorded.append(request),
            gaps=lambda _service, _release: [],
            now_us=clock.monotonic_us,
        )
        self.copies = ShadowCopies(
            world.store, self.catalog, self.executor, pressed=lambda: self.pressed,
            now_us=clock.now_us, new_id=self._id,
        )  # fmt: skip
        self._ids = 0

    def _id(self) -> str:
        self._ids += 1
        return f"{self._ids}"

    async def answered(self, **fields: Any) -> Execution:
        """Stable has answered a user, whose request is offered."""
        snapshot = self.catalog.snapshot
        job = jobs.job(
            id=f"req_u{self._id()}", service="support", input=QUESTION,
            release=snapshot.releases[STABLE], **fields,
        )  # fmt: skip
        execution = self.executor.run(job)
        async with execution:
            await execution.whole()
        self.offer(execution)
        return execution

    def offer(self, execution: Execution) -> None:
        """As the gateway does when the client has its answer."""
        shadow = self.copies.shadow(execution.job, "anyone")
        assert shadow is not None
        key = Key(
            id=1, name="k", prefix="pk-k", role=Role.CLIENT, tenant="t", synthetic=False,
            created_at_us=1, created_by="t", revoked_at_us=None,
        )  # fmt: skip
        asked = Asked(
            shadow=shadow, job=execution.job, key=key, input=QUESTION, options=Options(),
            variables={},
        )  # fmt: skip
        self.copies.offer(asked, execution)

    async def occupy(self) -> None:
        """As many copies are under way as may be, until the gate is opened."""
        self.backend.gate.clear()
        for _ in range(shadow_copies.CONCURRENT):
            await self.answered()
            await self.backend.reached.acquire()

    async def ended(self) -> None:
        """All copies have come to an end."""
        async with asyncio.timeout(30):
            tasks = [each for each in asyncio.all_tasks() if each.get_name() == "shadow copies"]
            await asyncio.gather(*tasks)

    async def compared(self) -> list[Comparison]:
        """The comparisons, oldest first."""
        async with self.world.store.read() as s:
            return (await shadow_comparisons.tail(s, 1, 1))[::-1]

    def ends(self) -> dict[End, int]:
        """How the copies ended."""
        return {end: count for (_, end), count in self.copies.ends.items()}


@pytest_asyncio.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    """A shadow rollout of `support` that copies everything."""
    async with worlds.made(tmp_path) as world:
        await world.start(strategy="shadow")
        async with world.store.read() as s:
            snapshot = Snapshot(
                services={each.name: each for each in await services.every(s)},
                releases={each.number: each for each in await releases.every(s)},
                shadows={"support": SHADOW},
            )
        made = Box(world, snapshot)
        yield made
        await made.copies.close()


async def test_a_copy_asks_the_candidate_in_background_and_is_compared(box: Box) -> None:
    """With the same seed and input, for no tenant, beside what stable said."""
    await box.answered()
    await box.ended()
    user, copy = box.backend.seen
    assert (copy.release.number, copy.class_, copy.service) == (
        CANDIDATE, Class.BACKGROUND, shadow_copies.SERVICE,
    )  # fmt: skip
    assert (copy.tenant, copy.key_id, copy.input) == ("paddock", 0, QUESTION)
    assert copy.sampling.seed == user.sampling.seed
    (row,) = await box.compared()
    assert (row.request_id, row.copy_id) == (user.id, copy.id)
    assert (row.exact, row.f1, row.error_code) == (False, 0.0, None)
    assert (row.stable_tokens, row.candidate_tokens) == (3, 3)
    (score,) = box.backend.scored
    assert (score.continuation, score.class_) == ("It has shipped", Class.BACKGROUND)
    assert (row.scored_tokens, row.logprob, row.top_tokens) == (2, -1.5, 1)


async def test_a_backend_that_cannot_score_leaves_the_log_probability_out(box: Box) -> None:
    """Everything else is compared."""
    box.backend.scoring = False
    box.backend.said[CANDIDATE] = "it has shipped."
    await box.answered()
    await box.ended()
    (row,) = await box.compared()
    assert (row.logprob, row.scored_tokens, row.f1, row.exact) == (None, 0, 1.0, False)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (failures.Broken("no", code="engine_error"), "engine_error"),
        (failures.Invalid("no", code="context_length_exceeded"), "context_length_exceeded"),
        (failures.Unavailable("no", code="worker_lost"), "worker_lost"),
    ],
)
async def test_what_stable_answered_and_the_candidate_cannot_is_its_failure(
    box: Box, failure: failures.Failure, error: str
) -> None:
    """Also where the candidate calls the request invalid: stable took it."""
    box.backend.said[CANDIDATE] = failure
    await box.answered()
    await box.ended()
    (row,) = await box.compared()
    assert (row.error_code, row.f1) == (error, 0.0)


@pytest.mark.parametrize(
    "failure",
    [
        failures.Overloaded("no", code="queue_full"),
        failures.Unavailable("no", code="deadline"),
    ],
)
async def test_a_candidate_that_is_too_busy_for_copies_has_not_failed(
    box: Box, failure: failures.Failure
) -> None:
    """Copies come last; that they wait says nothing of it."""
    box.backend.said[CANDIDATE] = failure
    await box.answered()
    await box.ended()
    assert box.ends() == {End.LATE: 1}
    assert await box.compared() == []


async def test_offers_never_wait_and_what_does_not_fit_is_dropped(box: Box) -> None:
    """The queue is bounded; each copy beyond it is counted."""
    await box.occupy()
    for _ in range(shadow_copies.QUEUE_LIMIT + 5):
        await box.answered()
    assert box.ends() == {End.FULL: 5}
    box.backend.gate.set()
    await box.ended()
    kept = shadow_copies.QUEUE_LIMIT + shadow_copies.CONCURRENT
    assert box.ends() == {End.FULL: 5, End.COMPARED: kept}


async def test_nothing_is_copied_while_requests_wait_for_the_box(box: Box) -> None:
    """Neither what is offered then, nor what waits already."""
    await box.occupy()
    await box.answered()
    box.pressed = True
    await box.answered()
    assert box.ends() == {End.BUSY: 1}
    box.backend.gate.set()
    await box.ended()
    assert box.ends() == {End.BUSY: 2, End.COMPARED: shadow_copies.CONCURRENT}


async def test_cancelled_and_failed_requests_are_not_copied(box: Box) -> None:
    """There is no answer to compare with."""
    job = jobs.job(service="support", input=QUESTION, release=box.catalog.snapshot.releases[STABLE])
    execution = box.executor.run(job)
    execution.cancel()
    await box.executor.drain()
    assert box.recorded[-1].outcome is Outcome.CANCELLED
    box.offer(execution)
    box.backend.said[STABLE] = failures.Broken("no", code="engine_error")
    failing = box.executor.run(job)
    with pytest.raises(failures.Broken):
        await failing.whole()
    await box.executor.drain()
    box.offer(failing)
    await box.copies.close()
    assert [each.release.number for each in box.backend.seen] == [STABLE]
    assert box.ends() == {}


async def test_a_shadow_that_has_ended_gets_no_more_copies(box: Box) -> None:
    """What waits when the rollout moves on is dropped."""
    await box.occupy()
    await box.answered()
    box.catalog.snapshot = Snapshot(
        services=box.catalog.snapshot.services, releases=box.catalog.snapshot.releases
    )
    box.backend.gate.set()
    await box.ended()
    assert box.ends()[End.OVER] == 1
    job = jobs.job(service="support", input=QUESTION, release=box.catalog.snapshot.releases[STABLE])
    assert box.copies.shadow(job, "anyone") is None


async def test_a_gateway_that_stops_holds_nothing_against_the_candidate(box: Box) -> None:
    """Copies that are cut short are not compared."""
    box.backend.gate.clear()
    await box.answered()
    await box.backend.reached.acquire()
    await box.copies.close()
    await box.executor.drain()
    assert await box.compared() == []
    assert box.recorded[-1].outcome is Outcome.CANCELLED
