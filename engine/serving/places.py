"""Who takes a running place, and who gives one up for it.

A free place goes to the least served tenant that can use it, on whatever adapter. When none is
free, background gives one up to any class above it, and a tenant that holds much more than another
gives one up to that other. Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.serving.fairness import Tenant
from engine.serving.queues import Queue, pressure
from engine.serving.sequences import Sequence
from engine.serving.slots import Slots

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler


@dataclass(slots=True)
class AdapterState:
    """One adapter's context: its slots, what runs in them and what waits for them."""

    slots: Slots
    above: Queue
    below: Queue
    running: list[Sequence] = field(default_factory=list)
    stepped: int = 0

    @property
    def free(self) -> int:
        """How many more sequences may start; slots are assigned when a step is planned."""
        return self.slots.size - len(self.running)

    def queue(self, *, background: bool) -> Queue:
        """The queue of background, or of the classes above it."""
        return self.below if background else self.above

    def has(self, *, background: bool) -> bool:
        """Whether background (or any class above it) runs or waits here."""
        if self.queue(background=background).count:
            return True
        return any(s.background == background for s in self.running)


def following(
    scheduler: Scheduler, adapter: AdapterState, now_us: int, *, background: bool
) -> Sequence | None:
    """The sequence of this adapter that may start now; parks others for it if that is right."""
    queue = adapter.queue(background=background)
    tenant = queue.top()
    if tenant is None or (background and adapter.above.count):
        return None
    sequence = queue.head(tenant, scheduler.knobs, now_us)
    places = scheduler.knobs.max_running - scheduler.running
    if adapter.free > 0 and places > 0:
        for other in scheduler.adapters.values():
            if other is not adapter and other.free > 0:
                places -= _before(scheduler, other, tenant, sequence, now_us)
        return sequence if places > 0 else None
    if background:
        return None
    if _take_from_background(scheduler, adapter):
        return sequence
    holder = _holder(scheduler, adapter, tenant, tenant.lead(sequence))
    if holder is None:
        return None
    scheduler.park(holder)
    return sequence


def yields(scheduler: Scheduler, adapter: AdapterState, sequence: Sequence) -> int:
    """How many places running sequences would give up to a newcomer on this adapter."""
    if sequence.background:
        return 0
    low = sum(s.background for s in adapter.running)
    tenant = scheduler.above.of(sequence.tenant)
    if low or tenant.waits:
        return low
    return int(_holder(scheduler, adapter, tenant, tenant.lead(sequence)) is not None)


def _before(
    scheduler: Scheduler, other: AdapterState, tenant: Tenant, sequence: Sequence, now_us: int
) -> int:
    """How many places another adapter's sequences take before this one."""
    if sequence.background and other.above.count:
        return min(other.above.count, other.free)
    queue = other.queue(background=sequence.background)
    first = queue.top()
    if first is None:
        return 0
    head = queue.head(first, scheduler.knobs, now_us)
    if first is tenant:
        knobs = scheduler.knobs
        return int(pressure(head, knobs, now_us) > pressure(sequence, knobs, now_us))
    return int(first.key(head) < tenant.key(sequence))


def _take_from_background(scheduler: Scheduler, adapter: AdapterState) -> bool:
    """Park background sequences, as few as suffice, for one of a higher class.

    More than one when `max_running` was lowered below what runs.
    """
    full = adapter.free <= 0
    victims = [s for a in scheduler.adapters.values() for s in a.running if s.background]
    here = adapter.running
    victims.sort(key=lambda s: (full and s not in here, s.resident))
    count = max(scheduler.running - scheduler.knobs.max_running, 0) + 1
    if len(victims) < count or (full and victims[0] not in here):
        return False
    for victim in victims[:count]:
        scheduler.park(victim)
    return True


def _holder(
    scheduler: Scheduler, adapter: AdapterState, tenant: Tenant, lead_us: float
) -> Sequence | None:
    """A sequence that should give its place to this tenant: of the tenant that holds most.

    That one must have been served as much and hold twice as many even afterwards, so that two
    tenants that use the worker alike never park each other. A tenant that goes ahead gets all but
    one: short requests do not hold theirs for long. What has been parked least often, and is the
    least to compute again, is parked.
    """
    if scheduler.running > scheduler.knobs.max_running:
        return None
    adapters = [adapter] if adapter.free <= 0 else list(scheduler.adapters.values())
    running = [s for each in adapters for s in each.running if not s.background]
    if not running:
        return None
    most = max((scheduler.above.of(s.tenant) for s in running), key=lambda t: t.running)
    enough = 2 if lead_us else 2 * (tenant.running + 1)
    served = tenant.received - lead_us if lead_us else tenant.served
    if most.running < enough or most.served < served:
        return None
    held = [s for s in running if s.tenant == most.name]
    return min(held, key=lambda s: (-s.class_, s.parks, s.resident, -s.id))
