"""A client's connection below its requests: malformed HTTP and stalled clients.

Uvicorn's own protocol, with three bounds that it lacks: the size of a request's head, the time in
which it has to arrive, and the time in which a client has to read. Where a response can still be
sent, it is an OpenAI error object. Knows nothing of paths and bodies. Imported by
`engine.gateway.server`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from engine.gateway import errors

HEAD_LIMIT: Final = 64 * 1024
"""Bytes of an incomplete head; one that arrives whole may be larger."""
HEAD_S: Final = 60.0
PROBE_S: Final = (0.5, 5.0)
"""When to probe a client that has stopped sending: its machine resets at the first write, and the
second write sees that. Some clients accept five interim responses at most."""
READ_S: Final = 60.0
"""How long a client may leave its answer unread."""


class Connection(HttpToolsProtocol):
    """One connection, as uvicorn makes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headed = False
        self._head = 0
        self._overdue: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._probing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._headed = True
        self._await_head()
        self._stop_unread()
        if self._probing is not None:
            self._probing.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client has stopped sending: it has disconnected, or it still waits for its answer.

        Only a write shows which: one that has disconnected resets. True keeps the transport.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body or self.pipeline:
            self._disconnect()
            return False
        cycle.keep_alive = False
        self._probe(PROBE_S)
        return True

    def _probe(self, again_s: tuple[float, ...]) -> None:
        """Write an interim response, which clients ignore, unless the answer is being written."""
        cycle = self.cycle
        if cycle is None or cycle.response_started or self.transport.is_closing():
            return
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if again_s:
            self._probing = self.loop.call_later(again_s[0], self._probe, again_s[1:])

    def data_received(self, data: bytes) -> None:
        """Bytes from the client; a head that is too long is refused."""
        super().data_received(data)
        if not self._headed:
            self._head += len(data)
            if self._head > HEAD_LIMIT:
                self.refuse(
                    errors.TooLarge(
                        f"The head of your request exceeds {HEAD_LIMIT} bytes; send fewer or "
                        "shorter headers.",
                        code="head_too_large",
                    )
                )
        self._await_head()

    def on_message_begin(self) -> None:
        """A request starts."""
        self._headed, self._head = False, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._headed = True
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """The client reads more slowly than the answer is written."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stop_unread()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 uvicorn's is always the same
        """The bytes are not HTTP."""
        self.refuse(
            errors.BadRequest(
                "This is not a valid HTTP/1.1 request; check its first line, its headers "
                "(no control characters) and the framing of its body.",
                code="invalid_http",
            )
        )

    def refuse(self, problem: errors.Problem) -> None:
        """Send the error and close; while another request is being answered, only close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        idle = cycle is None or cycle.response_complete
        if idle or (cycle.more_body and not cycle.response_started and not self.pipeline):
            self.transport.write(self._response(problem))
        self._disconnect()
        self._headed = True
        self.transport.close()

    def _disconnect(self) -> None:
        """Disconnect the request under way: nothing more is written for it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _response(self, problem: errors.Problem) -> bytes:
        body = problem.document()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return b"%b%b\r\n%b" % (STATUS_LINE[problem.status], lines, body)

    def _await_head(self) -> None:
        """Run the timer exactly while a head is incomplete."""
        if self._headed and self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        elif not self._headed and self._overdue is None:
            self._overdue = self.loop.call_later(HEAD_S, self._head_overdue)

    def _head_overdue(self) -> None:
        self.refuse(
            errors.TooSlow(
                f"The head of your request did not arrive within {HEAD_S:g} s.",
                code="head_timeout",
            )
        )

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
