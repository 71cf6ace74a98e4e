"""How an answer travels: whole, or as server-sent events while it grows.

One write takes all that has come since the last. A reader who is slow holds up its own answer only:
what waits for it is bounded. Imported by the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.execution.calls import Flight
from engine.gateway.openai_format import Paper

GONE: Final = 499
"""A client that left; nobody reads the status."""


async def gone(receive: Receive) -> None:
    """Returns when the client has gone away, or has its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


def watch(flight: Flight, receive: Receive) -> asyncio.Future[None]:
    """Gives the flight up when its client goes away; cancel it when the answer is out."""
    watching = asyncio.ensure_future(gone(receive))
    watching.add_done_callback(lambda done: None if done.cancelled() else flight.abandon())
    return watching


async def ready(flight: Flight) -> None:
    """Wait until there is something to say: all of it, or the first of a stream.

    Raises:
        errors.Problem: there will not be.
    """
    while not flight.over and not (flight.streams and flight.first_us is not None):
        await flight.moved()
    if flight.problem is not None:
        raise flight.problem


def whole(flight: Flight, paper: Paper, headers: dict[str, str]) -> Response:
    """The finished answer as one document; nothing when nobody is there to read it."""
    if flight.gone:
        return Response(status_code=GONE)
    return Response(paper.whole(flight.choices), headers=headers, media_type="application/json")


class Stream(Response):
    """The answer as it grows; `closed` is called when it has ended, however that was."""

    media_type = "text/event-stream"

    def __init__(
        self,
        flight: Flight,
        paper: Paper,
        headers: dict[str, str],
        *,
        keep: bool,
        closed: Callable[[], None],
    ) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache"})
        del self.headers["content-length"]
        self._flight = flight
        self._paper = paper
        self._keep = keep
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Write until nothing more comes; somebody else watches the client."""
        flight = self._flight
        try:
            flight.shown = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            opening = b"".join(self._paper.opening(choice.index) for choice in flight.choices)
            while not flight.gone:
                body = opening + self.take()
                opening = b""
                if flight.over:
                    await send({"type": "http.response.body", "body": body + self._last()})
                    return
                if body:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                await flight.moved()
        finally:
            flight.abandon()
            self._closed()

    def take(self) -> bytes:
        """All that came since the last call, as events."""
        flight, paper = self._flight, self._paper
        parts: list[bytes] = []
        flight.unread = 0
        for choice in flight.choices:
            if choice.text or choice.logprobs:
                text, logprobs = "".join(choice.text), choice.logprobs
                parts.append(paper.chunk(choice, text, logprobs))
                if self._keep:
                    choice.kept.append(text)
                choice.text, choice.logprobs = [], []
            if choice.finish is not None and not choice.told and flight.problem is None:
                choice.told = True
                parts.append(paper.ending(choice.index, choice.finish.reason))
        return b"".join(parts)

    def _last(self) -> bytes:
        flight = self._flight
        if flight.problem is not None:
            return b"data: " + flight.problem.document() + b"\n\n"
        return self._paper.closing(flight.choices)
