"""One connection: bytes in, answers out in the order of their requests, a timer in every state.

After each event `_settle` moves the connection to the state that follows from what has arrived and
what has been answered, and sets that state's timer: no path leaves one without. Knows nothing of
paths and keys. Imported by `engine.gateway.http.listener`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from engine.gateway import errors
from engine.gateway.http import admission, timer
from engine.gateway.http import exchange as exchanges
from engine.gateway.http.exchange import Exchange
from engine.gateway.http.limits import Limits
from engine.gateway.http.outgoing import CONTINUE, Outgoing
from engine.gateway.http.parser import Head, Parser
from engine.gateway.http.pipeline import Pipeline
from engine.gateway.http.place import Place
from engine.gateway.http.refusals import Reason, Refusals
from engine.gateway.http.states import MOVES, State


class Connection(asyncio.Protocol):
    """One client; `state` says where it is."""

    def __init__(
        self,
        limits: Limits,
        admitted: admission.Admission,
        refusals: Refusals,
        answer: Callable[[Exchange], None],
        urgent: Callable[[Head], bool],
    ) -> None:
        """`admitted` are the connections of the listener; `answer` has a request begin.

        `urgent` says which requests may be answered in a place of the reserve.
        """
        self._limits = limits
        self._place = Place(self, admitted)
        self._refusals = refusals
        self._answer = answer
        self._urgent = urgent
        self._transport: asyncio.Transport
        self._parser = Parser(self, limits.head_bytes)
        self._timer = timer.Timer(limits, self._late)
        self._outgoing: Outgoing
        self._pipeline = Pipeline()
        self._problem: errors.Problem | None = None  # why the request just parsed is refused
        self._answered = self._eof = False
        self._excess = False  # bytes came that are not read
        self._paused = False  # reading
        self.state = State.HEAD
        self.client = self.server = ("", 0)
        self.turn: int | None = None

    # what the transport reports

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, if there is room."""
        self._transport = transport
        self._outgoing = Outgoing(transport.write, self._limits, self._place.stalls, self._stuck)
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        reason = self._place.take(self.client[0])
        if reason is not None:
            self._refusals.count(reason, self.client[0])
            transport.write(exchanges.error(admission.full(reason)))
            self._close()
            return
        self._timer.follow(State.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 why does not matter
        """The end: stop all timers, and tell the requests."""
        self._pipeline.disconnect()
        self.state = State.CLOSED
        self._place.give_back()
        self._timer.stop()
        self._outgoing.stop()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.state in {State.LINGERING, State.CLOSING, State.CLOSED}:
            return
        self._excess = self._excess or self._parser.ended
        try:
            self._parser.feed(data)
        except errors.Problem as problem:
            self.refuse(problem)
            return
        if self._problem is not None:
            self.refuse(self._problem)
            return
        self._settle()

    def eof_received(self) -> bool:
        """The client has stopped sending: it has disconnected, or still waits for its answers.

        Only a write shows which: one that has disconnected resets. True keeps the transport.
        """
        self._eof = True
        self._pipeline.drop_partial()
        current = self._pipeline.current
        if current is None or not current.whole or self.state is State.LINGERING:
            self._pipeline.disconnect()
            self._close()
            return False
        self._outgoing.probe(self._probe)
        return True

    def pause_writing(self) -> None:
        """The client reads more slowly than the answer is written."""
        self._outgoing.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._outgoing.resume()
        self._place.reads()

    # what the parser reports

    def request(self, head: Head) -> None:
        """A head is complete."""
        pipeline = self._pipeline
        exchange = Exchange(head, self, self._outgoing)
        if self._place.lent is not None:
            self._parser.ended = True
            exchange.keep_alive = False
            if not self._urgent(head):
                self._problem = admission.full(self._place.lent)
                return
        pipeline.parsed = exchange
        if pipeline.current is None:
            pipeline.add(exchange)
            self._answer(exchange)
        elif pipeline.behind < self._limits.pipelined:
            pipeline.add(exchange)
        else:
            self._parser.ended = True
            self._refusals.count(Reason.PIPELINED, self.client[0])
            pipeline.last.keep_alive = False
            self._excess = True

    def body(self, data: bytes) -> None:
        """A part of the body of the latest request."""
        self._pipeline.body(data)

    def complete(self) -> None:
        """The latest request is complete."""
        self._pipeline.whole()

    # what exchanges ask for

    def wants_body(self) -> None:
        """The application reads the body."""
        self._read(when=not self._pipeline.behind)

    def answered(self, exchange: Exchange) -> None:
        """The answer is complete, or cannot be completed."""
        pipeline = self._pipeline
        if exchange is not pipeline.current:
            return
        pipeline.current = None
        self._answered = True
        if self.state in {State.LINGERING, State.CLOSING, State.CLOSED}:
            return
        if exchange.failed:
            self._pipeline.disconnect()
            self._close()
        elif not exchange.keep_alive:
            self._finish(exchange)
        elif pipeline.behind:
            self._settle()
            self._answer(pipeline.advance())
            self._read(when=not pipeline.behind)
            self._settle()
        elif self._eof or self._parser.ended:
            self._finish(exchange)
        else:
            self._read(when=True)
            self._settle()

    # what the listener asks for

    def displace(self) -> None:
        """Close to make room for another: nothing is being served on it."""
        self._refusals.count(Reason.DISPLACED, self.client[0])
        self._place.give_back()
        if self._transport.get_write_buffer_size():
            self.abort()
        else:
            self._close()

    def leave(self) -> None:
        """The server stops: end after the request under way."""
        if self._pipeline.current is None:
            self._close()
        else:
            self._pipeline.current.keep_alive = False

    def abort(self) -> None:
        """Close at once."""
        self._pipeline.disconnect()
        if self.state is not State.CLOSED:
            self._close()
            self._transport.abort()

    def refuse(self, problem: errors.Problem) -> None:
        """Send the error and end; while another request is being answered, only end."""
        self._refusals.count(Reason(problem.code or ""), self.client[0])
        current = self._pipeline.current
        silent = current is not None and (current.whole or current.started)
        self._pipeline.disconnect()
        if silent:
            self._close()
        else:
            self._outgoing.write(exchanges.error(problem))
            self._linger()

    # the state

    def _settle(self) -> None:
        """Move to the state that follows from what has arrived and what is answered."""
        current = self._pipeline.current
        if current is None:
            busy = self._parser.begun or self._pipeline.behind or not self._answered
            state = State.HEAD if busy else State.IDLE
        else:
            state = State.ANSWERING if current.whole else State.BODY
            if current.buffered > self._limits.body_buffer or self._pipeline.behind:
                self._read(when=False)
        if state is not self.state:
            self._move(state)
        self._timer.follow(state, current)

    def _move(self, state: State) -> None:
        if state not in MOVES[self.state]:
            raise RuntimeError(f"a connection cannot move from {self.state} to {state}")
        self.state = state
        self._place.follow(state)

    def _finish(self, exchange: Exchange) -> None:
        """The last answer is written: end, and let the client read it."""
        self._pipeline.drop_behind()
        if exchange.whole and (self._eof or not (self._excess or self._parser.begun)):
            self._close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Stop sending, and drop what still arrives: closing now would reset the connection."""
        if self._eof:
            self._close()
            return
        self._move(State.LINGERING)
        self._read(when=True)
        with contextlib.suppress(NotImplementedError):
            self._transport.write_eof()
        self._timer.follow(State.LINGERING)

    def _close(self) -> None:
        """Close when the client has read what was written."""
        if self.state in {State.CLOSING, State.CLOSED}:
            return
        self._pipeline.disconnect()
        self._move(State.CLOSING)
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._outgoing.pause()  # what is left unread may not hold a place for long either
        self._timer.follow(State.CLOSING)

    def _late(self, reason: Reason | None) -> None:
        """The time of the state is over."""
        if reason is Reason.ANSWER_TIMEOUT:
            self._refusals.count(reason, self.client[0])
            self.abort()
        elif reason is not None:
            self.refuse(timer.too_slow(reason, self._limits))
        elif self.state is State.CLOSING:
            self._transport.abort()
        else:
            self._close()

    def _stuck(self) -> None:
        self._refusals.count(Reason.SLOW_READER, self.client[0])
        self._transport.abort()

    def _read(self, *, when: bool) -> None:
        if when is self._paused and not self._eof and not self._transport.is_closing():
            self._paused = not when
            (self._transport.resume_reading if when else self._transport.pause_reading)()

    def _probe(self) -> bool:
        """Write an interim response, which clients ignore, unless the answer is being written."""
        current = self._pipeline.current
        if current is None or current.started or current.head.version == "1.0":
            return False
        self._transport.write(CONTINUE)
        return True


def _address(name: object) -> tuple[str, int]:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else ("", 0)
