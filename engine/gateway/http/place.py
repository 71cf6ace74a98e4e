"""The place of one connection among all: its own, or for one request out of the reserve.

Imported by `engine.gateway.http.connection`.
"""

from __future__ import annotations

from engine.gateway.http.admission import Admission
from engine.gateway.http.refusals import Reason
from engine.gateway.http.room import Peer
from engine.gateway.http.states import DISPLACEABLE, State


class Place:
    """`lent`: why it has no place of its own and was given one of the reserve, None if it has."""

    def __init__(self, peer: Peer, admission: Admission) -> None:
        """Without one until `take`."""
        self._peer = peer
        self._admission = admission
        self._state = State.HEAD
        self._stalled = False  # the answer is unread for so long that it may be displaced
        self.lent: Reason | None = None

    def take(self, host: str) -> Reason | None:
        """Take a place, which waits for a head; the reason where there is none."""
        reason = self._admission.admit(self._peer, host)
        if reason is not None and not self._admission.reserve(self._peer, host):
            return reason
        self.lent = reason
        self._admission.waits(self._peer)
        return None

    def give_back(self) -> None:
        """The connection ends."""
        self._admission.left(self._peer)

    def follow(self, state: State) -> None:
        """It is in another state."""
        waited, waits = self._state in DISPLACEABLE, state in DISPLACEABLE
        self._state = state
        if self._stalled:
            return  # it may be displaced in any state, and keeps its order among those
        if waits:
            self._admission.waits(self._peer)
        elif waited:
            self._admission.works(self._peer)

    def stalls(self) -> None:
        """The client has left its answer unread for a while."""
        self._stalled = True
        if self._state not in DISPLACEABLE:
            self._admission.waits(self._peer)

    def reads(self) -> None:
        """The client has caught up."""
        if self._stalled:
            self._stalled = False
            if self._state not in DISPLACEABLE:
                self._admission.works(self._peer)
