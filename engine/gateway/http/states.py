"""The states of a connection, and the moves between them.

Each state has one timer; `connection` sets it when it enters the state. Imported by
`engine.gateway.http`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a connection is; what its timer does, and who ends the state."""

    HEAD = "head"
    """A request is awaited or its head is incomplete. Late: 408 and the end. May be displaced."""
    BODY = "body"
    """The body is incomplete, whether or not the answer has begun. Late or slow: 408 and the end;
    an answer that is complete first ends the connection."""
    ANSWERING = "answering"
    """The request is complete, its answer is not. Nothing written for very long, or the client
    does not read: the connection is aborted. Bytes that arrive wait for their turn. May be
    displaced while the client does not read."""
    IDLE = "idle"
    """Everything is answered and nothing has arrived since. Late: closed. May be displaced."""
    LINGERING = "lingering"
    """The last answer is written and sending is shut down; what still arrives is dropped, so that
    a reset does not destroy the answer on its way. Late: closed. May be displaced."""
    CLOSING = "closing"
    """Closed on this side; the client has yet to read what was written. Late: aborted."""
    CLOSED = "closed"
    """The end."""


MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.HEAD: frozenset(
        {State.BODY, State.ANSWERING, State.LINGERING, State.CLOSING, State.CLOSED}
    ),
    State.BODY: frozenset({State.ANSWERING, State.LINGERING, State.CLOSING, State.CLOSED}),
    State.ANSWERING: frozenset(
        {State.HEAD, State.IDLE, State.LINGERING, State.CLOSING, State.CLOSED}
    ),
    State.IDLE: frozenset(set(State) - {State.IDLE}),
    State.LINGERING: frozenset({State.CLOSING, State.CLOSED}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}

DISPLACEABLE: Final = frozenset({State.HEAD, State.IDLE, State.LINGERING})
"""The states in which a connection has no request under way: it may be closed to make room."""
