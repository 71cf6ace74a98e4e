"""Which connections may stay: a limit in all and for each address; room is made by who only waits.

At a limit a new connection displaces the one that has waited longest, without a request under way
or with an answer that its client does not read: of the same address at the limit of an address,
else of the address with most such connections. So peers that hold connections open cost themselves,
and a probe of /healthz still gets in. Only if all are being served the new connection is refused.
Never touches a socket. Imported by `engine.gateway.http`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.gateway import errors
from engine.gateway.http.limits import Limits
from engine.gateway.http.refusals import Reason

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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


class Admission:
    """The connections of one listener. `proxies` have no limit of their own."""

    def __init__(self, limits: Limits, proxies: Sequence[Network] = ()) -> None:
        self._limits = limits
        self._proxies = tuple(proxies)
        self._addresses: dict[str, _Address] = {}
        self._where: dict[Peer, str] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._where)

    @property
    def limit(self) -> int:
        """How many there may be."""
        return self._limits.connections

    def peers(self) -> list[Peer]:
        """All connections."""
        return list(self._where)

    def admit(self, peer: Peer, host: str) -> Reason | None:
        """Let a new connection in, if need be in place of another; else the reason."""
        address = network(host)
        reason = self._make_room(address, host)
        if reason is None:
            self._where[peer] = address
            self._addresses.setdefault(address, _Address()).count += 1
        return reason

    def waits(self, peer: Peer) -> None:
        """It has no request under way, or its client does not read, from now on."""
        if (where := self._where.get(peer)) is not None:
            waiting = self._addresses[where].waiting
            waiting.pop(peer, None)
            waiting[peer] = None

    def works(self, peer: Peer) -> None:
        """It has a request under way, and its client reads."""
        if (where := self._where.get(peer)) is not None:
            self._addresses[where].waiting.pop(peer, None)

    def left(self, peer: Peer) -> None:
        """It has ended."""
        where = self._where.pop(peer, None)
        if where is None:
            return
        address = self._addresses[where]
        address.waiting.pop(peer, None)
        address.count -= 1
        if not address.count:
            del self._addresses[where]

    def _make_room(self, address: str, host: str) -> Reason | None:
        own = self._addresses.get(address)
        if own is not None and own.count >= self._limits.per_address and not self._proxied(host):
            return None if _displace(own) else Reason.ADDRESS
        if self.count < self._limits.connections:
            return None
        crowd = max(self._addresses.values(), key=lambda each: len(each.waiting))
        return None if _displace(crowd) else Reason.CONNECTIONS

    def _proxied(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in each for each in self._proxies)


def network(host: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 host can roam in."""
    host = host.partition("%")[0]
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def full(reason: Reason) -> errors.Problem:
    """The error for a connection that is not admitted."""
    whose = "your address has" if reason is Reason.ADDRESS else "this gateway has"
    return errors.Unavailable(
        f"There are too many connections: {whose} as many as are allowed; try again.",
        code=reason.value,
        retry_after_us=1_000_000,
    )


def _displace(address: _Address) -> bool:
    """Close the connection that has waited longest; whether there was one."""
    oldest = next(iter(address.waiting), None)
    if oldest is None:
        return False
    oldest.displace()
    return True
