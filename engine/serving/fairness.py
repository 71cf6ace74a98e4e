"""Tenants share a worker by the device time that was computed for them.

Sheng et al. 2024, "Fairness in Serving Large Language Models" (VTC): a tenant's counter grows by
what it was served, the waiting tenant with the least counter goes next, and a tenant that comes
back is lifted to the others, so that idling earns nothing. Here a counter is measured time, one for
all adapters and classes; what a request is expected to take is charged when it starts, and settled
when it ends (the paper's length prediction). A second counter, of the steps that were computed at a
tenant's turn, shares the steps between contexts (stride scheduling).

Pure; imports the standard library only. Imported by the scheduler and its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from engine.serving.sequences import Class, Sequence
from engine.serving.tenant import Order, Tenant

RECENT_US: Final = 10_000_000
"""A tenant counts as present for so long after its last request."""
_KEPT: Final = 1024


class Tenants:
    """All tenants of a worker, either of background or of the classes above it.

    One that comes is lifted to what the others received. One that was here lately is lifted to
    `slack_us` less: to be lifted each time that they are paid time back would put it behind them.
    """

    def __init__(self) -> None:
        """None yet."""
        self._known: dict[str, Tenant] = {}
        self._active: dict[str, Tenant] = {}
        self._running: dict[str, Tenant] = {}
        self._idle: dict[str, int] = {}  # since when, the longest first
        self._order = Order(_oldest)
        self.slack_us = 0.0
        self._last_left = 0.0
        self._turn = 0.0
        self._now_us = 0

    def of(self, name: str) -> Tenant:
        """The tenant of this name."""
        tenant = self._known.get(name)
        if tenant is None:
            if len(self._known) >= _KEPT + 2 * len(self._active):
                self._forget()
            tenant = self._known[name] = Tenant(name)
        return tenant

    def at(self, now_us: int) -> None:
        """The time is `now_us`."""
        self._now_us = now_us
        while self._idle:
            name, since = next(iter(self._idle.items()))
            if now_us - since < RECENT_US:
                break
            del self._idle[name]

    @property
    def active(self) -> list[Tenant]:
        """Those with anything running or waiting."""
        return list(self._active.values())

    @property
    def present(self) -> int:
        """How many are active, or were lately."""
        return len(self._active) + len(self._idle)

    def names(self) -> frozenset[str]:
        """The names of those present; two at most, where it only matters whether it is one."""
        return frozenset(islice(chain(self._active, self._idle), 2))

    def joins(self, sequence: Sequence, *, fresh: bool) -> None:
        """A sequence joins a queue; a tenant without waiting ones is lifted to the others."""
        tenant = self.of(sequence.tenant)
        if not tenant.waits:
            here = tenant.name in self._active or tenant.name in self._idle
            floor = self._floor() - (self.slack_us if here else 0.0)
            tenant.served = max(tenant.served, floor + tenant.prepaid_us)
        tenant.waiting[sequence.class_].add(sequence)
        if fresh:
            tenant.fresh[sequence.class_][sequence.id] = sequence
        self._order.add(tenant)
        self._touch(tenant)

    def leaves(self, sequence: Sequence) -> None:
        """A sequence leaves its queue."""
        tenant = self.of(sequence.tenant)
        tenant.waiting[sequence.class_].add(sequence, -1)
        tenant.fresh[sequence.class_].pop(sequence.id, None)
        if not tenant.waits:
            self._last_left = tenant.received
        self._touch(tenant)

    def runs(self, sequence: Sequence) -> None:
        """A sequence takes a place."""
        tenant = self.of(sequence.tenant)
        if not tenant.running:
            tenant.turns = max(tenant.turns, self._turn)
            self._running[tenant.name] = tenant
        tenant.running += 1
        self._touch(tenant)

    def stops(self, sequence: Sequence) -> None:
        """A sequence gives its place back."""
        tenant = self.of(sequence.tenant)
        tenant.running -= 1
        if not tenant.running:
            del self._running[tenant.name]
        self._touch(tenant)

    def serve(self, tenant: Tenant, time_us: float) -> None:
        """So much was computed for it, or less than was charged before."""
        tenant.served += time_us
        if time_us < 0:
            self._order.add(tenant)

    def prepay(self, tenant: Tenant, time_us: float) -> None:
        """So much more, or less, is expected to be computed for what runs."""
        tenant.prepaid_us += time_us
        self.serve(tenant, time_us)

    def pay(self, tenant: Tenant, time_us: float) -> None:
        """Its part of a step, or a step at its turn without one, took so long."""
        tenant.turns = self.turn(tenant) + time_us
        least = min((each.turns for each in self._running.values()), default=tenant.turns)
        self._turn = max(self._turn, least)

    def turn(self, tenant: Tenant) -> float:
        """The least has the next turn; waiting without a place earns nothing."""
        return tenant.turns if tenant.running else max(tenant.turns, self._turn)

    def share(self, places: int) -> int:
        """How many places each of those present may hold before it crowds the others."""
        return max(1, places // max(1, self.present))

    def ahead_us(self, tenant: Tenant) -> float:
        """How much more it received than the next of those that wait."""
        return tenant.received - self._floor()

    def displaceable(self, own: Tenant, class_: Class) -> Iterator[Sequence]:
        """Whose places in the queue a newcomer of `own` may take, the least entitled first.

        Its own lower classes; then of the tenants that hold most, while they hold two more than it
        does, the newest of their lowest class.
        """
        for below in sorted(Class, reverse=True):
            if below > class_:
                yield from reversed(own.fresh[below].values())
        least = own.unstarted + 1
        for tenant in sorted(self._active.values(), key=lambda t: t.unstarted, reverse=True):
            if tenant is own or tenant.unstarted <= least:
                continue
            newest = (
                s for c in sorted(Class, reverse=True) for s in reversed(tenant.fresh[c].values())
            )
            yield from islice(newest, tenant.unstarted - least)

    def newest(self) -> Iterator[Sequence]:
        """All that were never started, the newest of the tenants that hold most first."""
        for tenant in sorted(self._active.values(), key=lambda t: t.unstarted, reverse=True):
            for class_ in sorted(Class, reverse=True):
                yield from reversed(tenant.fresh[class_].values())

    def _floor(self) -> float:
        """What the next of those that wait has received; without one, the last that waited."""
        first = self._order.top()
        return self._last_left if first is None else first.received

    def _touch(self, tenant: Tenant) -> None:
        """Whether it is active may have changed."""
        self._idle.pop(tenant.name, None)
        if tenant.running or tenant.waits:
            self._active[tenant.name] = tenant
        elif self._active.pop(tenant.name, None) is not None:
            self._idle[tenant.name] = self._now_us

    def _forget(self) -> None:
        """Drop the tenants whose return would lift them, and that await no promised time."""
        floor = self._floor()
        for tenant in list(self._known.values()):
            gone = tenant.name not in self._active and tenant.name not in self._idle
            if gone and tenant.served <= floor and tenant.retry_us <= self._now_us:
                del self._known[tenant.name]


def _oldest(tenant: Tenant) -> Sequence | None:
    """A tenant of whom only the counter matters."""
    return _NONE if tenant.waits else None


_NONE: Final = Sequence(0, "", Class.INTERACTIVE, "", 0, 0, 0, 0)
