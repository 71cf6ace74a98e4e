"""A set of connections by address, and which of them would make room for another first.

Never decides how many there may be. Imported by `engine.gateway.http.admission`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class Peer(Protocol):
    """A connection, as it is seen here."""

    def displace(self) -> None:
        """Close to make room for another: nothing is being served on it."""

    def leave(self) -> None:
        """End after the request under way."""

    def abort(self) -> None:
        """Close at once."""


@dataclass(slots=True)
class _Address:
    """The connections of one address; `waiting` in the order in which they began to wait."""

    count: int = 0
    waiting: dict[Peer, None] = field(default_factory=dict)


class Room:
    """Connections; those that wait may be displaced."""

    def __init__(self) -> None:
        """It is empty."""
        self._addresses: dict[str, _Address] = {}
        self._where: dict[Peer, str] = {}

    def __contains__(self, peer: Peer) -> bool:
        """Whether a connection is in it."""
        return peer in self._where

    @property
    def count(self) -> int:
        """How many are in it."""
        return len(self._where)

    def of(self, address: str) -> int:
        """How many of an address are in it."""
        found = self._addresses.get(address)
        return 0 if found is None else found.count

    def peers(self) -> list[Peer]:
        """All of them."""
        return list(self._where)

    def add(self, peer: Peer, address: str) -> None:
        """One more, which does not wait yet."""
        self._where[peer] = address
        self._addresses.setdefault(address, _Address()).count += 1

    def remove(self, peer: Peer) -> None:
        """It has ended; one that is not in it is ignored, here and below."""
        where = self._where.pop(peer, None)
        if where is None:
            return
        address = self._addresses[where]
        address.waiting.pop(peer, None)
        address.count -= 1
        if not address.count:
            del self._addresses[where]

    def waits(self, peer: Peer) -> None:
        """It may be displaced from now on."""
        if (where := self._where.get(peer)) is not None:
            waiting = self._addresses[where].waiting
            waiting.pop(peer, None)
            waiting[peer] = None

    def works(self, peer: Peer) -> None:
        """It may not be displaced."""
        if (where := self._where.get(peer)) is not None:
            self._addresses[where].waiting.pop(peer, None)

    def displace(self, address: str | None = None) -> bool:
        """Close the one that has waited longest of an address, or of the most crowded one.

        Whether there was one.
        """
        if address is None:
            crowd = max(self._addresses.values(), key=lambda each: len(each.waiting), default=None)
        else:
            crowd = self._addresses.get(address)
        oldest = None if crowd is None else next(iter(crowd.waiting), None)
        if oldest is None:
            return False
        oldest.displace()
        return True
