"""An answer as server-sent events while it grows; a client that disconnects cancels it.

While it waits for its first event it sends comments, which clients ignore and which keep proxies
from giving up. Each write holds all events since the last one. A slow reader delays its own answer
only: the backend bounds what waits for it. Imported by `engine.gateway.completions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.execution import failures
from engine.execution.execute import Execution
from engine.execution.job import Delta, Echoed, Event, Finished
from engine.gateway import errors
from engine.gateway.formats import Format

GONE: Final = 499
"""Status for a client that has disconnected; only logs could show it."""
WAIT_S: Final = 2.0
"""After this long without an event a stream begins with a comment, and sends another."""
TURN_BYTES: Final = 16 * 1024
"""Of what is written at a time, before others get their turn: a fraction of a millisecond."""
_WAITING: Final = b": waiting\n\n"


async def disconnected(receive: Receive) -> None:
    """Return when the client has closed its connection, or has its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


def watch(execution: Execution, receive: Receive) -> asyncio.Future[None]:
    """Cancel the execution when its client disconnects; cancel the watch when the answer is out."""
    watching = asyncio.ensure_future(disconnected(receive))
    watching.add_done_callback(lambda done: None if done.cancelled() else execution.cancel())
    return watching


class First:
    """The first events of an execution, which may take a while."""

    def __init__(self, execution: Execution) -> None:
        self._task = asyncio.ensure_future(anext(execution))

    async def within(self, wait_s: float) -> tuple[Event, ...] | None:
        """The events, or None if there are none yet; they may be asked for again.

        Raises:
            failures.Failure: the job cannot be answered.
            StopAsyncIteration: the client has disconnected.
        """
        if not self._task.done():
            try:
                await asyncio.wait((self._task,), timeout=wait_s)
            except asyncio.CancelledError:
                self._task.cancel()
                raise
        return self._task.result() if self._task.done() else None


class Stream(Response):
    """The answer as it grows.

    `closed` is called when the response ends, however it ends, and `over` after that.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        execution: Execution,
        first: First,
        format: Format,
        headers: dict[str, str],
        *,
        closed: Callable[[], object],
        over: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache"})
        del self.headers["content-length"]
        self._execution = execution
        self._first = first
        self._format = format
        self._closed = closed
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Write until the end; `watch` notices when the client disconnects."""
        execution, format = self._execution, self._format
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                events = await self._first.within(0)
                while events is None:
                    await send({"type": "http.response.body", "body": _WAITING, "more_body": True})
                    events = await self._first.within(WAIT_S)
                body = b"".join(map(format.opening, execution.answer.choices))
                body += await self._written(events)
                while not execution.answer.complete:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    body = await self._written(await anext(execution))
                body += format.closing(execution.answer)
            except failures.Failure as failure:
                body = format.failed(errors.of(failure))
            except StopAsyncIteration:
                return  # the client has gone
            await send({"type": "http.response.body", "body": body})
        finally:
            execution.cancel()
            self._closed()
            if self._over is not None:
                self._over()

    async def _written(self, events: tuple[Event, ...]) -> bytes:
        """Events as chunks, the prompts that come back before all else."""
        if not self._execution.job.echo:
            return chunks(self._format, events)
        echoes = (self._format.echoed(event) for event in events if isinstance(event, Echoed))
        prompts = await gathered(piece for pieces in echoes for piece in pieces)
        return prompts + chunks(self._format, events)


async def gathered(pieces: Iterable[bytes]) -> bytes:
    """All of them as one; others get their turn while a large one is made."""
    made: list[bytes] = []
    size = 0
    for piece in pieces:
        made.append(piece)
        size += len(piece)
        if size > TURN_BYTES:
            size = 0
            await asyncio.sleep(0)
    return b"".join(made)


def chunks(format: Format, events: tuple[Event, ...]) -> bytes:
    """Events as chunks: one with all the new text of a choice, one for its end. Without prompts."""
    if len(events) == 1 and isinstance(only := events[0], Delta):  # as nearly all batches are
        return _gained(format, only)
    gains: dict[int, list[Delta]] = {}
    for event in events:
        if isinstance(event, Delta):
            gains.setdefault(event.index, []).append(event)
    parts = [_gained(format, _joined(deltas)) for deltas in gains.values()]
    parts.extend(format.ending(event) for event in events if isinstance(event, Finished))
    return b"".join(parts)


def _gained(format: Format, delta: Delta) -> bytes:
    """What a choice gained, in the order in which a model writes it."""
    if delta.text and not (delta.reasoning or delta.calls):
        return format.chunk(delta.index, delta.text, delta.logprobs)
    parts: list[bytes] = []
    if delta.reasoning:
        parts.append(format.reasoning(delta.index, delta.reasoning))
    if delta.text or delta.logprobs:
        parts.append(format.chunk(delta.index, delta.text, delta.logprobs))
    if delta.calls:
        parts.append(format.calls(delta.index, delta.calls))
    return b"".join(parts)


def _joined(deltas: Sequence[Delta]) -> Delta:
    """Everything that one choice gained, as one delta."""
    if len(deltas) == 1:
        return deltas[0]
    return Delta(
        deltas[0].index,
        "".join(delta.text for delta in deltas),
        sum(delta.tokens for delta in deltas),
        tuple(logprob for delta in deltas for logprob in delta.logprobs),
        deltas[-1].at_us,
        "".join(delta.reasoning for delta in deltas),
        tuple(part for delta in deltas for part in delta.calls),
    )
