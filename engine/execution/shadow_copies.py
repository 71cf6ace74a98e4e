"""Copies answered requests to the candidates of shadows, and compares the answers.

A copy is offered once stable's answer has ended, waits in a bounded queue, runs in class background
and is compared with that answer. No user waits for it: what does not fit, or would meet a box that
has requests waiting, is dropped and counted. Copies are recorded under a service of their own, so
that they are in no service's figures and no tenant's cost. Only their records outlive the process:
a killed gateway loses copies, but no counts of the rollout.

Never chooses what is copied (`engine.traffic.mirroring`) and never judges. Imported by
`engine.gateway`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec
import structlog

from engine.execution import failures, plan, prompts
from engine.execution.answers import Answer
from engine.execution.catalog import Catalog
from engine.execution.execute import Execution, Executor
from engine.execution.job import Chat, Job, Options, Prompt, Score, Scored, Text
from engine.execution.snapshot import Shadow
from engine.judging import texts
from engine.traffic import mirroring
from storage import errors, shadow_comparisons
from storage.keys import Key
from storage.requests import Class, Outcome, Request
from storage.shadow_comparisons import Comparison
from storage.store import Store

SERVICE: Final = "(shadow)"
"""What copies are recorded under: no service can have this name."""
ENDPOINT: Final = "shadow"
TENANT: Final = "paddock"
QUEUE_LIMIT: Final = 64
CHARACTERS_LIMIT: Final = 8 * 1024 * 1024
"""Of the prompts and answers that wait, together."""
CONCURRENT: Final = 1
"""Under way at once: each takes a place in the batches that users wait for."""
WAIT_US: Final = 30_000_000
"""How long a copy may wait for its first computation."""
DEADLINE_S: Final = 300.0
LONGEST: Final = 20_000
"""Characters of an answer whose words are compared: more would hold up the event loop."""

_log = structlog.get_logger("gateway.shadow")


class End(StrEnum):
    """How a copy ended."""

    COMPARED = "compared"
    FULL = "full"  # too many wait, or too large ones
    BUSY = "busy"  # the box has requests waiting
    LATE = "late"  # the candidate did not get to it in time
    OVER = "over"  # the shadow has ended, or is another one
    LOST = "lost"  # the comparison could not be written


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that is to be copied, as its client sent it; `job` is stable's."""

    shadow: Shadow
    job: Job
    key: Key
    input: Chat | Text
    options: Options
    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Copy:
    asked: Asked
    request: Request
    text: str
    plain: bool

    @property
    def characters(self) -> int:
        return len(self.text) + _size(self.asked.input)


def _size(input: Chat | Text) -> int:
    """The approximate number of characters of an input."""
    if isinstance(input, Text):
        return sum(map(len, input.prompts))
    turns = sum(
        len(turn.content) + len(turn.reasoning) + sum(len(call.arguments) for call in turn.calls)
        for turn in input.messages
    )
    return turns + len(str(input.tools))


class ShadowCopies:
    """One per gateway. `ends` counts copies by service and `End`."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        executor: Executor,
        *,
        pressed: Callable[[], bool],
        now_us: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        """`pressed` says whether requests wait for the box; `now_us` is UTC."""
        self._store = store
        self._catalog = catalog
        self._executor = executor
        self._pressed = pressed
        self._now_us = now_us
        self._new_id = new_id
        self._waiting: deque[_Copy] = deque()
        self._characters = 0
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False
        self.ends: Counter[tuple[str, End]] = Counter()

    def shadow(self, job: Job, unit: str) -> Shadow | None:
        """The shadow that a job's request is to be copied to, None for most.

        Only stable's answers with one choice are compared, and none to a prompt that is scored.
        """
        shadow = self._catalog.snapshot.shadows.get(job.service)
        if shadow is None or job.release.number != shadow.stable:
            return None
        if job.choices != 1 or job.scores_prompts:
            return None
        copied = mirroring.copied(mirroring.salt(shadow.rollout), unit, shadow.share_bp)
        return shadow if copied else None

    def offer(self, asked: Asked, execution: Execution) -> None:
        """Copy a request whose answer has ended, unless it was cancelled or failed. Never waits."""
        request = execution.request
        if self._closed or request is None or request.outcome is not Outcome.OK:
            return
        copy = _Copy(asked, request, execution.answer.text, execution.answer.plain)
        full = len(self._waiting) >= QUEUE_LIMIT
        if full or self._characters + copy.characters > CHARACTERS_LIMIT:
            self._count(copy, End.FULL)
        elif self._pressed():
            self._count(copy, End.BUSY)
        else:
            self._characters += copy.characters
            self._waiting.append(copy)
            if len(self._running) < CONCURRENT:
                task = asyncio.create_task(self._run(), name="shadow copies")
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Drop what waits and cancel what runs; a copy that is cut short says nothing."""
        self._closed = True
        self._waiting.clear()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self) -> None:
        while self._waiting:
            copy = self._waiting.popleft()
            self._characters -= copy.characters
            try:
                self._count(copy, await self._follow(copy))
            except Exception:  # noqa: BLE001 one copy must not cost the others
                self._count(copy, End.LOST)
                _log.exception("a copy was lost", request=copy.request.id)

    def _count(self, copy: _Copy, end: End) -> None:
        self.ends[copy.request.service, end] += 1

    async def _follow(self, copy: _Copy) -> End:
        if self._catalog.snapshot.shadows.get(copy.request.service) != copy.asked.shadow:
            return End.OVER
        if self._pressed():
            return End.BUSY
        try:
            async with asyncio.timeout(DEADLINE_S):
                comparison = await self._compare(copy)
        except TimeoutError:
            return End.LATE
        if comparison is None:
            return End.LATE
        try:
            await self._store.write(
                lambda s: shadow_comparisons.record(s, [comparison]), nudge=False
            )
        except errors.StorageError as error:
            _log.warning("a comparison was lost", reason=str(error))
            return End.LOST
        return End.COMPARED

    async def _compare(self, copy: _Copy) -> Comparison | None:
        """The candidate's answer compared with stable's; None if it was not answered in time."""
        job = self._planned(copy)
        found = _beside(copy, job, self._now_us())
        try:
            job = await self._prompted(copy, job)
            async with self._executor.run(job) as execution:
                answer = await execution.whole()
        except failures.Failure as failure:
            if isinstance(failure, failures.Overloaded) or failure.code == "deadline":
                return None
            return msgspec.structs.replace(found, error_code=failure.code)
        ended = execution.request
        if ended is None or ended.outcome is not Outcome.OK:
            return None
        scored = await self._score(job, copy.text) if copy.plain else None
        return _compared(found, copy.text, answer, ended, scored)

    def _planned(self, copy: _Copy) -> Job:
        """The job of a copy: the client's wishes under the candidate's settings."""
        asked, snapshot = copy.asked, self._catalog.snapshot
        job = plan.job(
            id=f"req_{self._new_id()}",
            at_us=self._now_us(),
            arrived_us=self._executor.now_us(),
            endpoint=ENDPOINT,
            service=snapshot.services[asked.job.service],
            release=snapshot.releases[asked.shadow.candidate],
            key=asked.key,
            input=asked.input,
            options=asked.options,
            new_seed=asked.job.sampling.seed,
            class_=Class.BACKGROUND,
            via=asked.job.via,
        )
        return msgspec.structs.replace(
            job, service=SERVICE, key_id=0, tenant=TENANT, logprobs=-1, queue_us=WAIT_US
        )

    async def _prompted(self, copy: _Copy, job: Job) -> Job:
        try:
            return await prompts.with_prompt(self._catalog.snapshot, job, copy.asked.variables)
        except failures.Failure as failure:
            self._executor.refuse(job, failure)
            raise

    async def _score(self, job: Job, text: str) -> Scored | None:
        """Stable's answer under the candidate, by one prefill; None where that is not possible."""
        if not text:
            return None
        try:
            if not self._executor.backend(job.release).scores(job.release):
                return None
            assert isinstance(job.input, Prompt)  # noqa: S101 only text is copied
            score = Score(release=job.release, input=job.input, continuation=text, queue_us=WAIT_US)
            return await self._executor.score(score)
        except failures.Failure as failure:
            _log.info("stable's answer was not scored", request=job.id, reason=failure.message)
            return None


def _beside(copy: _Copy, job: Job, at_us: int) -> Comparison:
    """Stable's side of a comparison."""
    shadow, request = copy.asked.shadow, copy.request
    return Comparison(
        rollout_id=shadow.rollout,
        attempt=shadow.attempt,
        at_us=at_us,
        request_id=request.id,
        copy_id=job.id,
        stable_tokens=request.completion_tokens,
        stable_us=_computing(request, request.latency_us) or 0,
        stable_ttft_us=_computing(request, request.ttft_us),
    )


def _compared(
    found: Comparison, text: str, answer: Answer, ended: Request, scored: Scored | None
) -> Comparison:
    tokens = () if scored is None else scored.tokens
    return msgspec.structs.replace(
        found,
        exact=texts.same(text, answer.text),
        f1=texts.token_f1(text[:LONGEST], answer.text[:LONGEST]),
        candidate_tokens=ended.completion_tokens,
        candidate_us=_computing(ended, ended.latency_us) or 0,
        candidate_ttft_us=_computing(ended, ended.ttft_us),
        scored_tokens=len(tokens),
        top_tokens=None if scored is None else scored.top_tokens,
        logprob=sum(token.logprob for token in tokens) / len(tokens) if tokens else None,
    )


def _computing(request: Request, took_us: int | None) -> int | None:
    """A time without the wait for the first computation, which is longer for copies."""
    return None if took_us is None else max(took_us - request.queue_us, 0)
