"""One request under way: its sequences, what they gained, how each ended.

Receives from the worker's client within one turn of the loop and wakes whoever writes the answer
once. Knows nothing of HTTP or JSON. Imported by the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from engine.backends.worker_client import WorkerClient
from engine.gateway import errors
from engine.serving import wire

UNREAD_LIMIT: Final = 1 << 20
"""Characters that may wait for a client who does not read."""

_PER_LOGPROB: Final = 128
_REFUSALS: Final[Mapping[str, tuple[type[errors.Problem], str]]] = {
    "queue_full": (errors.Overloaded, "queue_full"),
    "deadline": (errors.Unavailable, "deadline"),
    "too_long": (errors.BadRequest, "context_length_exceeded"),
    "empty": (errors.BadRequest, "empty_prompt"),
    "no_adapter": (errors.Unavailable, "adapter_unavailable"),
    "worker_lost": (errors.Unavailable, "worker_lost"),
    "worker_gone": (errors.Unavailable, "worker_gone"),
}


class Choice:
    """One sequence of the request. `text` and `logprobs` hold what was not taken yet."""

    def __init__(self, flight: Flight, index: int) -> None:
        self.flight = flight
        self.index = index
        self.id = 0
        self.over = False
        """Whether the worker has said its last word about it."""
        self.told = False
        """Whether its end was written to the client."""
        self.finish: wire.Finished | None = None
        self.kept: list[str] = []
        """What was taken, for whoever writes it down."""
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.text: list[str] = []
        self.logprobs: list[wire.TokenLogprob] = []
        self.tokens = 0
        self._last_us = 0

    def delta(self, delta: wire.Delta) -> None:
        """It gained something."""
        flight = self.flight
        now = flight.now_us()
        if self._last_us:
            flight.gaps.append(now - self._last_us)
        elif flight.first_us is None:
            flight.first_us = now
        self._last_us = now
        self.tokens += delta.tokens
        if delta.text:
            self.text.append(delta.text)
            flight.unread += len(delta.text)
        if delta.logprobs:
            self.logprobs += delta.logprobs
            flight.unread += _PER_LOGPROB * len(delta.logprobs)
        if flight.streams:
            flight.stir()

    def finished(self, finished: wire.Finished) -> None:
        """It has ended, by itself or because nobody wants it any more."""
        self.over = True
        self.finish = finished
        self.flight.ended()

    def refused(self, refused: wire.Refused) -> None:
        """It cannot go on, and so cannot the request."""
        self.over = True
        self.flight.busy_us += refused.busy_us
        self.flight.fail(problem(refused))

    def lost(self) -> bool:
        """The worker died: what nobody has seen can be made again."""
        if self.flight.shown:
            self.over = True
            message = "The worker that wrote this answer died; send the request again."
            self.flight.fail(errors.Unavailable(message, code="worker_lost"))
            return False
        self.flight.unread -= sum(map(len, self.text)) + _PER_LOGPROB * len(self.logprobs)
        self.flight.first_us = None
        self.forget()
        return True


def prompt_tokens(choices: Sequence[Choice], prompts: int) -> int:
    """Of all prompts together; one that several choices answer counts once."""
    each = max(1, len(choices) // prompts)
    groups = [choices[first : first + each] for first in range(0, len(choices), each)]
    return sum(
        max((choice.finish.prompt_tokens for choice in group if choice.finish), default=0)
        for group in groups
    )


class Flight:
    """Takes off with `start`, is `over` when nothing more will come, and then settles.

    `gaps` takes the microseconds between tokens. `shown` is set by whoever has sent a first byte to
    the client. `problem` is why it failed; `gone` whether the client went away. `busy_us` is the
    worker's time that went into sequences without a last count.
    """

    def __init__(
        self,
        client: WorkerClient,
        *,
        choices: int,
        streams: bool,
        gaps: list[int],
        now_us: Callable[[], int],
    ) -> None:
        self._client = client
        self._waiter: asyncio.Future[None] | None = None
        self._stirred = False
        self._settled: Callable[[], None] | None = None
        self.now_us = now_us
        self.streams = streams
        self.gaps = gaps
        self.begun_us = now_us()
        self.first_us: int | None = None
        self.ended_us: int | None = None
        self.unread = 0
        self.busy_us = 0
        self.shown = False
        self.gone = False
        self.problem: errors.Problem | None = None
        self.choices = [Choice(self, index) for index in range(choices)]
        self._live = choices

    def start(self, submits: Sequence[wire.Submit]) -> None:
        """Order all sequences; they leave in one frame."""
        for choice, submit in zip(self.choices, submits, strict=True):
            if self.problem is None:
                choice.id = self._client.submit(submit, choice)

    @property
    def over(self) -> bool:
        """Whether nothing more will come that anybody wants."""
        return self._live == 0 or self.problem is not None or self.gone

    async def moved(self) -> None:
        """Wait until something came since the last call."""
        if not self._stirred:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._stirred = False

    def stir(self) -> None:
        """Wake who waits; a client who does not read is given up."""
        if self.unread > UNREAD_LIMIT and self.streams and not self.over:
            message = "The answer was not read as fast as it came."
            self.fail(errors.Unavailable(message, code="slow_reader"))
        self._stirred = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ended(self) -> None:
        """One of the sequences has come to its end."""
        if not self.over:
            self._live -= 1
            if self._live == 0:
                self.ended_us = self.now_us()
            if self._live == 0 or self.streams:
                self.stir()
        self._check()

    def fail(self, why: errors.Problem) -> None:
        """The whole request fails; its other sequences are cancelled."""
        if not self.over:
            self.problem = why
            self.drop()
            self.stir()
        self._check()

    def abandon(self) -> None:
        """The client went away."""
        if not self.over:
            self.gone = True
            self.drop()
            self.stir()

    def drop(self) -> None:
        """Cancel what is still under way."""
        if self.ended_us is None:
            self.ended_us = self.now_us()
        for choice in self.choices:
            if choice.id and not choice.over:
                self._client.cancel(choice.id)

    def settle(self, then: Callable[[], None]) -> None:
        """Call `then` once the worker has said its last word about every sequence."""
        self._settled = then
        self._check()

    def _check(self) -> None:
        if self._settled is not None and all(c.over or not c.id for c in self.choices):
            then, self._settled = self._settled, None
            then()


def problem(refused: wire.Refused) -> errors.Problem:
    """What a client is told when the worker refuses."""
    message = errors.sentence(errors.outside(refused.message))
    kind, code = _REFUSALS.get(refused.code, (errors.Broken, "engine_error"))
    return kind(message, code=code, retry_after_us=refused.retry_after_us)
