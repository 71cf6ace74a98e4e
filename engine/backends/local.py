"""The local backend: jobs on this box's workers.

Renders the model's chat template, cuts the prompt into segments, submits one sequence per choice to
the pool of the release's deployment and passes on the events. Never starts a worker, never
records. Imported by the gateway, which hands it to `engine.execution`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self

from engine.backends.fleet import Fleet
from engine.backends.pool import RETRY_US, Pool
from engine.backends.worker_client import Refusal
from engine.execution import failures
from engine.execution.job import Chat, Delta, Event, Finished, Job, Score, Scored, Text
from engine.prompting import chat_template
from engine.prompting.chat_template import ChatTemplate
from engine.serving import wire
from storage.releases import Release
from storage.requests import Class

UNREAD_LIMIT: Final = 1 << 20
"""Characters buffered for a slow client."""

_PER_LOGPROB: Final = 128
_CLASSES: Final = list(Class)
_REFUSALS: Final[Mapping[str, tuple[type[failures.Failure], str]]] = {
    "queue_full": (failures.Overloaded, "queue_full"),
    "deadline": (failures.Unavailable, "deadline"),
    "too_long": (failures.Invalid, "context_length_exceeded"),
    "empty": (failures.Invalid, "empty_prompt"),
    "no_adapter": (failures.Unavailable, "adapter_unavailable"),
    "model_fault": (failures.Broken, "model_fault"),
    "unavailable": (failures.Unavailable, "release_unavailable"),
    "worker_lost": (failures.Unavailable, "worker_lost"),
    "worker_gone": (failures.Unavailable, "worker_gone"),
}


class LocalBackend:
    """Jobs on the pools of a fleet."""

    def __init__(self, fleet: Fleet, *, now_us: Callable[[], int]) -> None:
        """`now_us` is monotonic."""
        self._fleet = fleet
        self._now_us = now_us

    def run(self, job: Job) -> LocalRun:
        """Start a job."""
        return LocalRun(self._fleet, job, self._now_us)

    async def score(self, score: Score) -> Scored:
        """The log-probabilities of a continuation.

        Raises:
            failures.Failure: the release cannot score this, or not now.
        """
        pool = self._fleet.pool(score.release)
        template = await pool.introduced(score.queue_us / 1e6)
        prompts = await _segments(template, score.release, score.input)
        if len(prompts) != 1:
            raise failures.Invalid("one prompt can be scored at a time", code="invalid_value")
        item = wire.Score(
            id=0,
            adapter=score.release.adapter,
            prompt=prompts[0],
            continuation=score.continuation,
            class_=_CLASSES.index(score.class_),
            tenant=score.tenant,
            queue_us=score.queue_us,
        )
        try:
            scored = await pool.score(item)
        except Refusal as refusal:
            raise _failure(refusal.refused, score.input) from refusal
        return Scored(scored.tokens, scored.prompt_tokens, scored.busy_us)

    def unready(self, release: Release) -> str | None:
        """Why the release cannot produce tokens now, as a clause; None when it can."""
        return self._fleet.unready(release)

    def unable(self, release: Release) -> str | None:
        """What is wrong with the templates of a release, as a clause; None when nothing is known.

        Retrying does not help: a template failed its trial or was quarantined.
        """
        return self._fleet.unable(release)

    def scores(self, release: Release) -> bool:  # noqa: ARG002 the same for all
        """Whether `score` works for the release."""
        return True


class _Sequence:
    """One choice on a worker; the worker's client calls it."""

    __slots__ = ("finish", "id", "index", "instance", "over", "run", "wasted_us")

    def __init__(self, run: LocalRun, index: int) -> None:
        self.run = run
        self.index = index
        self.id = 0
        self.over = False
        self.finish: Finished | None = None
        self.instance = ""
        """The one that refused it."""
        self.wasted_us = 0
        """Computing time that was spent before it was refused."""

    def delta(self, delta: wire.Delta, at_us: int) -> None:
        """New text."""
        self.run.extend(Delta(self.index, delta.text, delta.tokens, delta.logprobs, at_us))

    def finished(self, finished: wire.Finished) -> None:
        """The sequence has ended or was cancelled."""
        self.over = True
        self.finish = Finished(
            self.index,
            finished.reason,
            finished.prompt_tokens,
            finished.completion_tokens,
            self.run.waited_us + finished.queue_us,
            finished.busy_us,
            self.run.instance_of(self.id),
        )
        self.run.ended(self.finish)

    def refused(self, refused: wire.Refused) -> None:
        """The worker refused the sequence; the job fails."""
        self.over = True
        self.wasted_us += refused.busy_us
        self.instance = self.run.instance_of(self.id)
        self.run.refused(refused)

    def lost(self) -> bool:
        """The worker died: begin again unless events were passed on."""
        if not self.run.shown:
            self.run.restart(self)
            return True
        self.over = True
        self.run.fail(
            failures.Unavailable(
                "the worker died in the middle of this answer; send the request again",
                code="worker_lost",
            )
        )
        return False


class LocalRun:
    """One job on a worker: an iterator over batches of events.

    Events between two calls form one batch and wake the reader once. A job that does not
    stream gets a single batch, when all its choices have ended.
    """

    def __init__(self, fleet: Fleet, job: Job, now_us: Callable[[], int]) -> None:
        self._fleet = fleet
        self._now_us = now_us
        self._loop = (
            asyncio.get_running_loop()
        )  # looked up once: Python 3.11 makes a system call of it
        self._pool: Pool | None = None
        self._sequences: list[_Sequence] = []
        self._batch: list[Event] = []
        self._waiter: asyncio.Future[None] | None = None
        self._settled: asyncio.Future[None] | None = None
        self._failure: failures.Failure | None = None
        self._live = job.choices
        self._unread = 0
        self._streams = job.stream
        self.job = job
        self.shown = False
        self.waited_us = 0

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> tuple[Event, ...]:
        """The events since the last batch.

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
        """
        if self._pool is None:
            await self._start()
        while True:
            if self._failure is not None and not (self.shown and self._batch):
                raise self._failure
            if self._batch and (self._streams or self._live == 0):
                batch, self._batch = tuple(self._batch), []
                self._unread = 0
                self.shown = True
                return batch
            if self._live == 0:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            await self._waiter

    async def aclose(self) -> tuple[Finished, ...]:
        """Cancel what is still running, and wait for the worker's token counts."""
        self._cancel()
        if not all(sequence.over for sequence in self._sequences):
            self._settled = self._loop.create_future()
            await self._settled
        return tuple(
            sequence.finish
            or Finished(sequence.index, "cancelled", 0, 0, 0, sequence.wasted_us, sequence.instance)
            for sequence in self._sequences
        )

    async def _start(self) -> None:
        job = self.job
        pool = self._fleet.pool(job.release)
        template = await pool.introduced(job.queue_us / 1e6)
        try:
            async with asyncio.timeout(job.queue_us / 1e6):
                prompts = await _segments(template, job.release, job.input)
        except TimeoutError as error:
            raise failures.Unavailable(
                f"the chat template was not rendered within {job.queue_us / 1e6:g} s",
                code="deadline",
                retry_after_us=RETRY_US,
            ) from error
        except failures.Invalid as failure:
            failure.release_fault = await self._others_render(template)
            raise
        waited_us = self._now_us() - job.arrived_us
        self._pool, self.waited_us = pool, waited_us
        for number, prompt in enumerate(prompts):
            for choice in range(job.n):
                if self._failure is None:
                    sequence = _Sequence(self, number * job.n + choice)
                    self._sequences.append(sequence)
                    submit = _submit(
                        job,
                        prompt,
                        choice,
                        queue_us=max(1, job.queue_us - waited_us),
                        request=self._sequences[0].id,
                    )
                    sequence.id = pool.submit(submit, sequence)

    async def _others_render(self, template: ChatTemplate) -> bool:
        """Whether another arm's template takes a conversation that this release's refuses."""
        chat = self.job.input
        assert isinstance(chat, Chat)  # noqa: S101 only conversations are refused by templates
        for other in self._fleet.snapshot.arms(self.job.service):
            pool = self._fleet.pools.get(other.deployment)
            if pool is None or pool.template in {None, template}:
                continue
            try:
                await pool.template.segments(chat)
            except (
                chat_template.BadConversation,
                chat_template.BrokenTemplate,
                failures.Failure,
            ):
                continue
            return True
        return False

    def _others_hold_more(self) -> bool:
        """Whether another arm of the service has a larger context than this release."""
        own = self.job.release.engine
        return own is not None and any(
            other.engine is not None and other.engine.context_tokens > own.context_tokens
            for other in self._fleet.snapshot.arms(self.job.service)
        )

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _cancel(self) -> None:
        for sequence in self._sequences:
            if sequence.id and not sequence.over and self._pool is not None:
                self._pool.cancel(sequence.id)

    def instance_of(self, id: int) -> str:
        """The name of the instance that computes a sequence."""
        return "" if self._pool is None else self._pool.instance_of(id)

    # called by the sequences

    def extend(self, delta: Delta) -> None:
        """New text of a choice."""
        self._batch.append(delta)
        if not self._streams:
            return
        self._unread += len(delta.text) + _PER_LOGPROB * len(delta.logprobs)
        if self._unread > UNREAD_LIMIT:
            self.fail(
                failures.Unavailable("the client read the stream too slowly", code="slow_reader")
            )
        self._wake()

    def ended(self, finish: Finished) -> None:
        """A choice has ended."""
        if self._failure is None:
            self._batch.append(finish)
            self._live -= 1
            if self._live == 0 or self._streams:
                self._wake()
        self._check()

    def refused(self, refused: wire.Refused) -> None:
        """A choice was refused, or cannot continue."""
        failure = _failure(refused, self.job.input)
        failure.release_fault = refused.code == "too_long" and self._others_hold_more()
        self.fail(failure)

    def fail(self, failure: failures.Failure) -> None:
        """The whole job fails; its other choices are cancelled."""
        if self._failure is None:
            self._failure = failure
            self._cancel()
            self._wake()
        self._check()

    def restart(self, sequence: _Sequence) -> None:
        """A choice begins again; none of its events was passed on."""
        index = sequence.index
        self._batch = [event for event in self._batch if _index(event) != index]

    def _check(self) -> None:
        settled = self._settled
        if settled is not None and not settled.done() and all(s.over for s in self._sequences):
            settled.set_result(None)


def _index(event: Event) -> int:
    return event.index if isinstance(event, Delta | Finished) else -1


async def _segments(
    template: ChatTemplate, release: Release, input: Chat | Text
) -> Sequence[tuple[wire.Segment, ...]]:
    """The segments of each prompt, for the worker to tokenise."""
    if isinstance(input, Text):
        return [(wire.Segment(prompt, special=False),) for prompt in input.prompts]
    try:
        return [await template.segments(input)]
    except chat_template.LongConversation as error:
        raise failures.Invalid(
            f"release {release.name}: {error}", code="context_length_exceeded", param="messages"
        ) from error
    except chat_template.BadConversation as error:
        raise failures.Invalid(
            f"release {release.name}: {error}", code="invalid_value", param="messages"
        ) from error
    except chat_template.BrokenTemplate as error:
        raise failures.Broken(
            f"release {release.name}: {error}", code="template_broken", release_fault=True
        ) from error


def _failure(refused: wire.Refused, input: Chat | Text) -> failures.Failure:
    """A worker's refusal in terms of the job."""
    kind, code = _REFUSALS.get(refused.code, (failures.Broken, "engine_error"))
    field = "messages" if isinstance(input, Chat) else "prompt"
    return kind(
        refused.message,
        code=code,
        param=field if kind is failures.Invalid else None,
        retry_after_us=refused.retry_after_us,
    )


def _submit(
    job: Job, prompt: tuple[wire.Segment, ...], choice: int, *, queue_us: int, request: int
) -> wire.Submit:
    sampling = job.sampling
    return wire.Submit(
        id=0,
        adapter=job.release.adapter,
        prompt=prompt,
        sampling=wire.Sampling(
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            sampling.min_p,
            sampling.seed + choice,
        ),
        max_tokens=job.max_tokens,
        stop=job.stop,
        class_=_CLASSES.index(job.class_),
        tenant=job.tenant,
        queue_us=queue_us,
        logprobs=job.logprobs,
        request=request,
    )
