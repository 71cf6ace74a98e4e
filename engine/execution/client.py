"""Executes jobs in the gateway, from another process of this box: by its internal socket.

Same interface as `engine.execution.execute.Executor`; scheduling, fairness and records stay in the
gateway. Knows no HTTP and no model library. Imported by jobs, control and the runner.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final, Self

from engine.execution import failures, frames
from engine.execution.answers import Answer
from engine.execution.job import Event, Job, Score, Scored
from storage.home import paths
from storage.home.paths import Home

DEADLINE_US: Final = 600_000_000
_UNREACHABLE: Final = "the gateway is not running or is restarting; try again"
_RETRY_US: Final = 1_000_000


class Client:
    """The gateway of one home."""

    def __init__(self, home: Home) -> None:
        """Opens a new connection for each job and each score."""
        self._home = home

    def run(self, job: Job, *, deadline_us: int = DEADLINE_US) -> RemoteExecution:
        """Start a job; use the result in `async with` and iterate over it."""
        return RemoteExecution(self._home, job, deadline_us)

    async def score(self, score: Score, *, deadline_us: int = DEADLINE_US) -> Scored:
        """The log-probabilities of a continuation.

        Raises:
            failures.Failure: the release cannot score this, or not now.
        """
        async with _Connection(self._home) as connection:
            await connection.send(frames.RunScore(score, deadline_us))
            response = await connection.receive()
        if not isinstance(response, frames.Result):
            raise failures.Broken("the gateway answered a score with events", code="protocol")
        return response.scored

    async def preview(
        self,
        prompt_id: int,
        variables: Mapping[str, Any],
        *,
        model: str | None = None,
        user: str | None = None,
        deadline_us: int = DEADLINE_US,
    ) -> frames.Previewed:
        """The messages of a prompt version for these variables, and their tokens.

        Raises:
            failures.Failure: it cannot be rendered, or not now.
        """
        asked = frames.RunPreview(prompt_id, dict(variables), model, user, deadline_us)
        async with _Connection(self._home) as connection:
            await connection.send(asked)
            response = await connection.receive()
        if not isinstance(response, frames.Previewed):
            raise failures.Broken("the gateway answered a preview with events", code="protocol")
        return response


class RemoteExecution:
    """One job under way in the gateway: an iterator over batches of events.

    Leaving the `async with` before the end cancels the job. `answer` is the answer so far.
    """

    def __init__(self, home: Home, job: Job, deadline_us: int) -> None:
        self._connection = _Connection(home)
        self._deadline_us = deadline_us
        self._sent = False
        self.job = job
        self.answer = Answer(job, [])

    async def __aenter__(self) -> Self:
        """Nothing is sent before the first batch is asked for."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel what is still running."""
        await self._connection.close()

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> tuple[Event, ...]:
        """The events since the last batch.

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
        """
        if self.answer.complete:
            raise StopAsyncIteration
        if not self._sent:
            self._sent = True
            await self._connection.open()
            await self._connection.send(frames.RunJob(self.job, self._deadline_us))
        response = await self._connection.receive()
        if not isinstance(response, frames.Events):
            raise failures.Broken("the gateway answered a job with a score", code="protocol")
        self.answer.add(response.events)
        return response.events

    async def whole(self) -> Answer:
        """The complete answer.

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
        """
        async with self:
            async for _ in self:
                pass
        return self.answer


class _Connection:
    """One connection to the internal socket; connection errors become failures."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        try:
            with paths.short(self._home.gateway_socket) as address:
                self._reader, self._writer = await asyncio.open_unix_connection(address)
        except OSError as error:
            raise _unreachable() from error

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def send(self, request: frames.Request) -> None:
        assert self._writer is not None  # noqa: S101 `open` comes first
        try:
            self._writer.write(frames.encode(request))
            await self._writer.drain()
        except frames.FrameError as error:
            raise failures.Invalid(str(error), code="request_too_large") from error
        except OSError as error:
            raise _unreachable() from error

    async def receive(self) -> frames.Response:
        assert self._reader is not None  # noqa: S101 `open` comes first
        try:
            response = await frames.read_response(self._reader)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise _unreachable() from error
        except frames.FrameError as error:
            raise failures.Broken(
                f"the gateway sent an invalid frame: {error}", code="protocol"
            ) from error
        if isinstance(response, frames.Failed):
            raise frames.failure(response)
        return response


def _unreachable() -> failures.Unavailable:
    return failures.Unavailable(_UNREACHABLE, code="gateway_unavailable", retry_after_us=_RETRY_US)
