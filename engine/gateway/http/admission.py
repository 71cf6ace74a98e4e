"""Which connections may stay: a limit in all and for each address; room is made by who only waits.

At a limit a new connection displaces the one that has waited longest, without a request under way
or with an answer that its client does not read: of the same address at the limit of an address,
else of the address with most such connections. So peers that hold connections open cost themselves.
If all are being served, a few places are left for one request each of those that must get in
whatever the load: probes, and operators. Who asks is known with the head of the request only, so
that such a place is given to any connection, and displaced like others while it waits. Never
touches a socket. Imported by `engine.gateway.http`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from engine.gateway import errors
from engine.gateway.http.limits import Limits
from engine.gateway.http.refusals import Reason
from engine.gateway.http.room import Peer, Room

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Admission:
    """The connections of one listener. `proxies` have no limit of their own."""

    def __init__(self, limits: Limits, proxies: Sequence[Network] = ()) -> None:
        self._limits = limits
        self._proxies = tuple(proxies)
        self._places = Room()
        self._reserve = Room()

    @property
    def count(self) -> int:
        """How many there are, those in the reserve included."""
        return self._places.count + self._reserve.count

    @property
    def limit(self) -> int:
        """How many there may be, the reserve not included."""
        return self._limits.connections

    def peers(self) -> list[Peer]:
        """All connections."""
        return [*self._places.peers(), *self._reserve.peers()]

    def admit(self, peer: Peer, host: str) -> Reason | None:
        """Let a new connection in, if need be in place of another; else the reason."""
        address = network(host)
        reason = self._make_room(address, host)
        if reason is None:
            self._places.add(peer, address)
        return reason

    def reserve(self, peer: Peer, host: str) -> bool:
        """Give a place of the reserve to a connection that was not let in, if there is one."""
        if self._reserve.count >= self._limits.reserved and not self._reserve.displace():
            return False
        self._reserve.add(peer, network(host))
        return True

    def waits(self, peer: Peer) -> None:
        """It has no request under way, or its client does not read, from now on."""
        self._room(peer).waits(peer)

    def works(self, peer: Peer) -> None:
        """It has a request under way, and its client reads."""
        self._room(peer).works(peer)

    def left(self, peer: Peer) -> None:
        """It has ended."""
        self._room(peer).remove(peer)

    def _room(self, peer: Peer) -> Room:
        return self._reserve if peer in self._reserve else self._places

    def _make_room(self, address: str, host: str) -> Reason | None:
        limits, places = self._limits, self._places
        if places.of(address) >= limits.per_address and not self._proxied(host):
            return None if places.displace(address) else Reason.ADDRESS
        if places.count < limits.connections:
            return None
        return None if places.displace() else Reason.CONNECTIONS

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
