"""The timer of a connection: one for its state, started anew with each state and each request.

Decides what is late; `connection` acts. Imported by `engine.gateway.http.connection`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.gateway import errors
from engine.gateway.http.exchange import Exchange
from engine.gateway.http.limits import Limits
from engine.gateway.http.refusals import Reason
from engine.gateway.http.states import State


class Timer:
    """`late` is called with the reason, None where the time of a state ends without blame."""

    def __init__(self, limits: Limits, late: Callable[[Reason | None], None]) -> None:
        self._limits = limits
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._state: State | None = None
        self._exchange: Exchange | None = None
        self._deadline = 0.0  # of a body
        self._seen = 0  # bytes received or sent when the timer was set
        self._plain = {
            State.HEAD: limits.head_s,
            State.IDLE: limits.idle_s,
            State.LINGERING: limits.linger_s,
            State.CLOSING: limits.flush_s,
        }

    def follow(self, state: State, exchange: Exchange | None = None) -> None:
        """Time a state, of the request where it has one. What is timed already is kept."""
        if state is self._state and exchange is self._exchange:
            return
        self._state, self._exchange = state, exchange
        if state is State.BODY:
            self._deadline = self._loop.time() + self._limits.body_s
        self._set()

    def stop(self) -> None:
        """No state is timed any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(self._wait_s(), self._fire)

    def _wait_s(self) -> float:
        exchange, limits = self._exchange, self._limits
        if exchange is None or self._state in self._plain:
            return self._plain[self._state or State.HEAD]
        if self._state is State.ANSWERING:
            self._seen = exchange.sent
            return limits.answer_s
        self._seen = exchange.received
        return max(0.0, min(self._deadline - self._loop.time(), limits.body_window_s))

    def _fire(self) -> None:
        exchange, limits = self._exchange, self._limits
        if self._state is State.HEAD:
            self._late(Reason.HEAD_TIMEOUT)
        elif exchange is None or self._state in self._plain:
            self._late(None)
        elif self._state is State.ANSWERING:
            if exchange.sent == self._seen:
                self._late(Reason.ANSWER_TIMEOUT)
            else:
                self._set()
        elif self._loop.time() >= self._deadline:
            self._late(Reason.BODY_TIMEOUT)
        elif (
            exchange.buffered <= limits.body_buffer  # else it is the application that is slow
            and exchange.received - self._seen < limits.body_rate * limits.body_window_s
        ):
            self._late(Reason.BODY_TOO_SLOW)
        else:
            self._set()


def too_slow(reason: Reason, limits: Limits) -> errors.Problem:
    """The error for a head or a body that is late."""
    sentences = {
        Reason.HEAD_TIMEOUT: f"The head of your request did not arrive within {limits.head_s:g} s.",
        Reason.BODY_TIMEOUT: f"The body of your request did not arrive within {limits.body_s:g} s.",
        Reason.BODY_TOO_SLOW: "The body of your request arrived with less than "
        f"{limits.body_rate} bytes a second.",
    }
    return errors.TooSlow(sentences[reason], code=reason.value)
