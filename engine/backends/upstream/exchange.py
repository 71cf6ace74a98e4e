"""Runs a job on one server: concurrent choices, deadlines, one retry on a lost connection.

Imported by the backends for registered upstreams and for supervised servers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.backends.upstream import echo, embedding, faults, maker, merging, request
from engine.backends.upstream.answer import Answer
from engine.backends.upstream.health import Health
from engine.backends.upstream.server import Item, Lost, Server, Stream
from engine.execution.failures import Failure
from engine.execution.job import Embed, Event, Job, Rerank, Restarted, Text
from storage.home import clock

_AFTER_END_S: Final = 0.1
"""For the end of the body after `[DONE]`, so that its connection can be used again."""

Batches = AsyncGenerator[tuple[Event, ...], None]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Jobs for one model of one server; `instance` is its name where the node runs it."""

    server: Server
    health: Health
    model: str
    extensions: bool = True
    instance: str = ""
    now_us: Callable[[], int] = clock.monotonic_us

    async def run(self, job: Job) -> Batches:
        """As `protocol.Backend.run`.

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
        """
        name = self.server.settings.name
        for last in (False, True):
            yielded = False
            try:
                async with contextlib.aclosing(self.attempt(job)) as batches:
                    async for batch in batches:
                        yielded = True
                        yield batch
            except Lost as error:
                if last or (yielded and job.stream):
                    failure = faults.lost(name, str(error))
                    self.health.failed(failure)
                    raise failure from error
                if yielded:
                    yield (Restarted(),)
            else:
                return

    def attempt(self, job: Job) -> Batches:
        """The job without a second try.

        Raises:
            Lost: the connection ended too early; the same may be tried again.
            failures.Failure: as `run`.
        """
        if isinstance(job.input, Embed | Rerank):
            return self._embedded(job, job.input)
        if job.choices == 1:
            return self._choice(job, 0, {})
        encoded = request.conversation(job)
        return merging.merged([self._choice(job, index, encoded) for index in range(job.choices)])

    async def _choice(self, job: Job, index: int, encoded: Mapping[str, Any]) -> Batches:
        made_by = await maker.of(self.server) if request.needs_maker(job) else maker.UNKNOWN
        headers = _headers(job)
        try:
            request.check(job, index, extensions=self.extensions, made_by=made_by)
            async with self.server.slot(job.class_, job.tenant, self._left_s(job)):
                call = request.of(  # not before: many choices that wait hold no bodies
                    job,
                    index,
                    model=self.model,
                    extensions=self.extensions,
                    made_by=made_by,
                    encoded=encoded,
                )
                answer = Answer(
                    self.server.settings.name,
                    index,
                    max_tokens=job.max_tokens,
                    alternatives=job.logprobs,
                    queue_us=self.now_us() - job.arrived_us,
                    instance=self.instance,
                    prompt=_returned(job, index),
                )
                async with contextlib.aclosing(self._read(job, call, answer, headers)) as batches:
                    async for deltas in batches:
                        yield deltas
                finished = answer.finish()
        except Failure as failure:
            self.health.failed(failure)
            raise
        self.health.succeeded(finished.prompt_tokens, finished.completion_tokens)
        yield (finished,)

    async def _embedded(self, job: Job, input: Embed | Rerank) -> Batches:
        """Vectors or scores: one request after the other, and one batch at the end."""
        name = self.server.settings.name
        made_by = await maker.of(self.server) if embedding.needs_maker(input) else maker.UNKNOWN
        left = len(input.documents if isinstance(input, Rerank) else input.inputs)
        values: list[bytes] = []
        tokens = 0
        try:
            async with self.server.slot(job.class_, job.tenant, self._left_s(job)):
                queue_us = self.now_us() - job.arrived_us
                for call in embedding.calls(input, model=self.model, made_by=made_by):
                    count = min(left, embedding.PART)
                    within_s = self.server.settings.first_event_s
                    if not values:
                        within_s = min(within_s, self._left_s(job))
                    body = await self._post(job, call, within_s)
                    found, counted = embedding.read(name, input, count, body)
                    values += found
                    tokens += counted
                    left -= count
            vectors = embedding.vectors(name, values)
        except Failure as failure:
            self.health.failed(failure)
            raise embedding.blameless(failure, job) from failure
        self.health.succeeded(tokens, 0)
        end = embedding.finished(tokens, queue_us=queue_us, instance=self.instance)
        yield (vectors, end)

    async def _post(self, job: Job, call: request.Call, within_s: float) -> bytes:
        """The answer to a request that is not streamed."""
        settings, loop = self.server.settings, asyncio.get_running_loop()
        sent = object()
        self.server.unanswered[sent] = loop.time()
        try:
            return await self.server.post(
                call.path, call.body, deadline=loop.time() + within_s, headers=_headers(job)
            )
        except TimeoutError:
            raise faults.timed_out(settings.name, within_s) from None
        finally:
            self.server.unanswered.pop(sent, None)

    async def _read(
        self, job: Job, call: request.Call, answer: Answer, headers: dict[str, str]
    ) -> Batches:
        settings = self.server.settings
        loop = asyncio.get_running_loop()
        within_s, late = self._due(job)
        deadline = loop.time() + within_s
        sent = object()
        self.server.unanswered[sent] = loop.time()
        stream = self.server.stream(call.path, call.body, deadline=deadline, headers=headers)
        try:
            item = await anext(stream, None)
            while item is not None:
                now = self.now_us()
                found: Sequence[Event]
                if isinstance(item, bytes):
                    found = answer.whole(item, now)
                elif job.echo:
                    raise echo.unsupported("it streams although it was asked not to")
                else:
                    found = answer.stream(item, now)
                if found:
                    yield tuple(found)
                if answer.began:  # a first token was in time: from now on silence counts
                    self.server.unanswered.pop(sent, None)
                    deadline = loop.time() + (_AFTER_END_S if answer.done else settings.read_s)
                item = await _resumed(stream, deadline)
        except (TimeoutError, Lost) as error:
            if answer.done:
                return
            if isinstance(error, Lost):
                raise
            if answer.began:
                raise faults.stalled(settings.name, settings.read_s) from None
            raise late from None
        finally:
            self.server.unanswered.pop(sent, None)
            await stream.aclose()

    def _due(self, job: Job) -> tuple[float, Failure]:
        """Within how many seconds an answer has to begin, and the failure if it does not.

        An answer with its prompt is not streamed, so a late one may just be long.
        """
        settings = self.server.settings
        within_s = max(0.0, min(settings.first_event_s, self._left_s(job)))
        if job.echo and job.max_tokens:
            within_s += settings.read_s
            return within_s, faults.late(settings.name, within_s)
        return within_s, faults.timed_out(settings.name, within_s)

    def _left_s(self, job: Job) -> float:
        """How long the job may still wait for its first token."""
        return max(0.0, (job.arrived_us + job.queue_us - self.now_us()) / 1e6)


def _headers(job: Job) -> dict[str, str]:
    return {
        "x-request-id": job.id,
        "x-paddock-class": job.class_.value,
        "x-paddock-via": ", ".join(job.via),
    }


def _returned(job: Job, index: int) -> str | tuple[int, ...] | None:
    """The prompt that a choice has to return."""
    if not job.echo or not isinstance(job.input, Text):
        return None
    return job.input.prompts[index // job.n]


async def _resumed(stream: Stream, deadline: float) -> Item | None:
    """The next item of a stream, due by a deadline; None at its end."""
    try:
        return await stream.asend(deadline)
    except StopAsyncIteration:
        return None
