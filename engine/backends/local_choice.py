"""One choice of a local job: what its worker says of it, in the terms of the job.

It begins again when its worker dies before anything was passed on. Imported by
`engine.backends.local_run`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from engine.backends.parsed_text import ParsedText
from engine.execution import failures
from engine.execution.job import Delta, Finished, Prefilled
from engine.serving import wire


class Run(Protocol):
    """The job that a choice belongs to. `shown`: events of it were passed on."""

    shown: bool
    waited_us: int

    def now_us(self) -> int:
        """The monotonic time."""

    def instance_of(self, id: int) -> str:
        """The instance that computes a sequence."""

    def prefilled(self, event: Prefilled) -> None:
        """The prompt of a choice was computed."""

    def extend(self, delta: Delta) -> None:
        """New text of a choice."""

    def ended(self, finish: Finished) -> None:
        """A choice has ended."""

    def refused(self, refused: wire.Refused, index: int) -> None:
        """A choice was refused, or cannot continue."""

    def stop(self, choice: LocalChoice) -> None:
        """A choice is complete before its worker knows."""

    def fail(self, failure: failures.Failure) -> None:
        """The whole job fails."""

    def restart(self, choice: LocalChoice) -> None:
        """A choice begins again."""


class LocalChoice:
    """One choice on a worker; the worker's client calls it."""

    __slots__ = (
        "echo",
        "enough",
        "finish",
        "id",
        "index",
        "instance",
        "over",
        "parsed",
        "run",
        "wasted_us",
    )

    def __init__(
        self,
        run: Run,
        index: int,
        parsed: ParsedText | None,
        echo: Finished | None = None,
    ) -> None:
        """`echo` is the end that the choice would have if it were nothing but its prompt."""
        self.run = run
        self.index = index
        self.id = 0
        self.parsed = parsed
        self.over = False
        self.enough = False
        """It has made all calls that it may: the rest is not waited for."""
        self.finish: Finished | None = None
        self.instance = ""
        """The one that refused it."""
        self.echo = echo
        self.wasted_us = 0 if echo is None else echo.busy_us
        """Computing time that was spent before it was refused."""

    def delta(self, delta: wire.Delta, at_us: int) -> None:
        """New text."""
        if delta.prompt_tokens:
            cached = delta.cached_tokens if self.echo is None else self.echo.cached_tokens
            self.run.prefilled(Prefilled(self.index, delta.prompt_tokens, cached))
        if self.parsed is not None:
            self.run.extend(self.parsed.delta(delta, at_us))
            if self.parsed.over and not self.enough:
                self.enough = True
                self.run.stop(self)
        else:
            self.run.extend(Delta(self.index, delta.text, delta.tokens, delta.logprobs, at_us))

    def finished(self, finished: wire.Finished) -> None:
        """The sequence has ended or was cancelled."""
        self.over = True
        reason = finished.reason
        if self.parsed is not None:
            rest = self.parsed.rest(reason, self.run.now_us())
            if rest is not None:
                self.run.extend(rest)
            if (reason == "stop" and self.parsed.called) or self.enough:
                reason = "tool_calls"
        self.finish = Finished(
            self.index,
            reason,
            finished.prompt_tokens,
            finished.completion_tokens,
            self.run.waited_us + finished.queue_us,
            finished.busy_us,
            self.run.instance_of(self.id),
            cached_tokens=finished.cached_tokens,
            stop=finished.stop,
        )
        if self.echo is not None:  # which computed the prompt
            self.finish = msgspec.structs.replace(
                self.finish,
                queue_us=self.echo.queue_us,
                busy_us=finished.busy_us + self.echo.busy_us,
                cached_tokens=self.echo.cached_tokens,
            )
        self.run.ended(self.finish)

    def refused(self, refused: wire.Refused) -> None:
        """The worker refused the sequence; the job fails."""
        self.over = True
        self.wasted_us += refused.busy_us
        self.instance = self.run.instance_of(self.id)
        self.run.refused(refused, self.index)

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
