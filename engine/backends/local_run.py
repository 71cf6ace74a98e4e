"""One job on this box's workers: its sequences, and their events in batches.

Submits one sequence per choice to the pool of the release's deployment; a sequence begins again
when its worker dies before anything was passed on. Never starts a worker, never records. Imported
by `engine.backends.local`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Self

from engine.backends import parsed_text, prompt_scoring, tool_trials, translation
from engine.backends.fleet import Fleet
from engine.backends.local_choice import LocalChoice
from engine.backends.parsed_text import Parsing
from engine.backends.pool import Pool
from engine.backends.prompt_scoring import PromptScoring
from engine.execution import failures
from engine.execution.job import (
    Chat,
    Delta,
    Echoed,
    Event,
    Finished,
    Job,
    Prefilled,
    Prompt,
    Text,
)
from engine.prompting import chat_template, prompt_template
from engine.prompting.chat_template import ChatTemplate
from engine.serving import wire

UNREAD_LIMIT: Final = 1 << 20
"""Characters buffered for a slow client."""
_PER_LOGPROB: Final = 128
PER_FIGURE: Final = 32
ECHO_LIMIT: Final = wire.FIGURES_LIMIT * PER_FIGURE
"""Characters of the prompts of one job that come back, once for each choice, however fast the
client reads; a log-probability with its token counts as PER_FIGURE."""


class LocalRun:
    """One job on a worker: an iterator over batches of events.

    Events between two calls form one batch and wake the reader once. A job that does not
    stream gets a single batch, when all its choices have ended.
    """

    def __init__(self, fleet: Fleet, job: Job, now_us: Callable[[], int]) -> None:
        self._fleet = fleet
        self.now_us = now_us
        self._loop = (
            asyncio.get_running_loop()
        )  # looked up once: Python 3.11 makes a system call of it
        self._pool: Pool | None = None
        self._parsing = Parsing()
        self._sequences: list[LocalChoice | PromptScoring] = []
        self._following: dict[int, list[tuple[int, tuple[wire.Segment, ...]]]] = {}
        self._echoed = self._figures = 0
        self._batch: list[Event] = []
        self._waiter: asyncio.Future[None] | None = None
        self._settled: asyncio.Future[None] | None = None
        self._failure: failures.Failure | None = None
        self._closed = False
        self._live = job.choices
        self._unread = 0
        self._streams = job.stream
        assert isinstance(job.input, Prompt)  # noqa: S101 other jobs have other runs
        self._input: Prompt = job.input
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
        self._closed = True
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
        if job.constraint is not None:
            await self._fleet.checker.check(job.constraint, job.tenant, job.queue_us / 1e6)
        pool = self._fleet.pool(job.release)
        template = await pool.introduced(job.queue_us / 1e6)
        try:
            prompts = await translation.segments(
                template, job.release, self._input, job.queue_us / 1e6
            )
        except failures.Invalid as failure:
            await self._blame(template, failure)
            raise
        family = template.syntax(self._input)
        parsing = parsed_text.parsing(job, family, prompts[0], template.controls)
        if parsing.trial is not None:
            await tool_trials.check(self._fleet.checker, parsing.trial, job, family)
        waited_us = self.now_us() - job.arrived_us
        self._pool, self._parsing, self.waited_us = pool, parsing, waited_us
        leaders = prompt_scoring.leaders(prompts) if job.scores_prompts else {}
        for number, prompt in enumerate(prompts):
            if not job.scores_prompts:
                self._generate(pool, number, prompt)
            elif number in leaders:
                self._following.setdefault(leaders[number], []).append((number, prompt))
            else:
                self._score(pool, number, prompt)

    def _score(self, pool: Pool, number: int, prompt: tuple[wire.Segment, ...]) -> None:
        """Score a prompt that comes back."""
        if self._failure is None:
            scoring = PromptScoring(self, number * self.job.n, prompt)
            self._sequences.append(scoring)
            score = translation.echo(self.job, prompt, queue_us=self._queue_us())
            scoring.id = pool.submit(score, scoring)

    def _generate(
        self,
        pool: Pool,
        number: int,
        prompt: tuple[wire.Segment, ...],
        echo: PromptScoring | None = None,
    ) -> None:
        """Begin the choices of a prompt."""
        job, parsing = self.job, self._parsing
        for choice in range(job.n):
            if self._failure is None:
                index = number * job.n + choice
                ended = None if echo is None else echo.ended(index, "length")
                sequence = LocalChoice(self, index, parsing.made(index), ended)
                self._sequences.append(sequence)
                submit = translation.submit(
                    job,
                    prompt,
                    choice,
                    parsing,
                    queue_us=self._queue_us(),
                    request=self._sequences[0].id,
                )
                sequence.id = pool.submit(submit, sequence)

    def _queue_us(self) -> int:
        """How long a sequence may still wait for its first token."""
        return max(1, self.job.arrived_us + self.job.queue_us - self.now_us())

    async def _blame(self, template: ChatTemplate, failure: failures.Invalid) -> None:
        """Say whether the release is to blame for a conversation or a prompt that it refused.

        It is if its own prompt is refused with whatever follows, or if another arm takes what this
        one refuses. Only an ordinary conversation counts there: a client that sends another kind
        could fail one arm at will.

        Raises:
            failures.Broken: no request of the release can be answered.
        """
        job, chat = self.job, self.job.input
        if not isinstance(chat, Chat):  # it is too long
            failure.release_fault = self._others_hold_more()
            return
        long = failure.code == "context_length_exceeded"
        if not long and job.prompt:
            plain = prompt_template.prompted(job.prompt, chat_template.PLAIN)
            assert isinstance(plain, Chat)  # noqa: S101 as PLAIN is
            if not await template.renders(plain.messages):
                raise failures.Broken(
                    f"release {job.release.name}: the model's chat template cannot render the "
                    f"release's prompt; {failure.message}",
                    code="prompt_broken",
                    release_fault=True,
                ) from failure
        if long or chat_template.ordinary(chat):
            failure.release_fault = await self._others_render(template)

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

    def prefilled(self, event: Prefilled) -> None:
        """The prompt of a choice was computed; its first text follows at once."""
        if self._streams:
            self._batch.append(event)

    def extend(self, delta: Delta) -> None:
        """New text of a choice."""
        self._batch.append(delta)
        if not self._streams:
            if delta.logprobs:
                self._figures += _figures(delta)
                if self._figures > wire.FIGURES_LIMIT:
                    self.fail(_too_many_figures())
            return
        self._unread += len(delta.text) + len(delta.reasoning)
        self._unread += _PER_LOGPROB * len(delta.logprobs)
        if delta.calls:
            self._unread += sum(len(part.arguments) for part in delta.calls)
        if self._unread > UNREAD_LIMIT:
            self.fail(
                failures.Unavailable("the client read the stream too slowly", code="slow_reader")
            )
        self._wake()

    def prompt_scored(self, scoring: PromptScoring, scored: wire.Scored) -> None:
        """A prompt comes back; its choices begin, unless there is nothing to answer.

        Nothing begins where the job ended meanwhile: the worker had answered before it was told.
        """
        job, pool = self.job, self._pool
        if self._failure is not None or self._closed:
            self._check()
            return
        assert pool is not None  # noqa: S101 it has the scoring
        number = scoring.index // job.n
        prompt = job.input.prompts[number] if isinstance(job.input, Text) else ()
        echoed = prompt_scoring.echoed(job, prompt, scored, scoring.index)
        figures = prompt_scoring.figures(job, echoed)
        self._echoed += job.n * (len(echoed.text) + figures * PER_FIGURE)
        if self._echoed > ECHO_LIMIT:
            self.fail(prompt_scoring.too_much(ECHO_LIMIT, PER_FIGURE))
            return
        for choice in range(job.n):
            index = scoring.index + choice
            self._batch.append(Echoed(index, echoed.text, echoed.tokens, echoed.scored))
            if not job.max_tokens:
                self.ended(scoring.ended(index, "length"))
        if job.max_tokens:
            self._generate(pool, number, scoring.prompt, scoring)
        for following in self._following.pop(number, ()):
            self._score(pool, *following)

    def settled(self) -> None:
        """A sequence that was cancelled has ended."""
        self._check()

    def ended(self, finish: Finished) -> None:
        """A choice has ended."""
        if self._failure is None:
            self._batch.append(finish)
            self._live -= 1
            if self._live == 0 or self._streams:
                self._wake()
        self._check()

    def refused(self, refused: wire.Refused, index: int) -> None:
        """A choice was refused, or cannot continue."""
        job = self.job
        failure = translation.failure(
            refused, self._input, self._parsing.constraint, index // job.n
        )
        failure.release_fault = refused.code == "too_long" and self._others_hold_more()
        self.fail(failure)

    def stop(self, choice: LocalChoice) -> None:
        """A choice is complete before its worker knows."""
        if self._pool is not None:
            self._pool.cancel(choice.id)

    def fail(self, failure: failures.Failure) -> None:
        """The whole job fails; its other choices are cancelled."""
        if self._failure is None:
            self._failure = failure
            self._cancel()
            self._wake()
        self._check()

    def restart(self, sequence: LocalChoice) -> None:
        """A choice begins again; none of its events was passed on."""
        index = sequence.index
        sequence.parsed, sequence.enough = self._parsing.made(index), False
        self._batch = [event for event in self._batch if _index(event) != index]
        self._figures = sum(_figures(each) for each in self._batch if isinstance(each, Delta))

    def _check(self) -> None:
        settled = self._settled
        if settled is not None and not settled.done() and all(s.over for s in self._sequences):
            settled.set_result(None)


def _figures(delta: Delta) -> int:
    """The log-probabilities of a delta, alternatives included."""
    return sum(1 + len(one.top) for one in delta.logprobs)


def _too_many_figures() -> failures.Invalid:
    """A whole answer waits in memory for its end."""
    return failures.Invalid(
        f"the answer has more than {wire.FIGURES_LIMIT} log-probabilities, alternatives included; "
        "stream it, or ask for a smaller n, fewer tokens or fewer alternatives",
        code="invalid_value",
        param="logprobs",
    )


def _index(event: Event) -> int:
    return event.index if isinstance(event, Delta | Finished | Prefilled) else -1
