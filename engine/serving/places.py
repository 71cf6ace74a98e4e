"""Who takes a running place, and who gives one up for it.

A free place goes to the least served tenant that can use it, on whatever adapter; before others to
one that goes ahead (`leads`) or holds less than its share of the places. When none is free,
background gives one up to any class above it, and a tenant that holds much more than another gives
one up to that other. Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.serving.queues import Queue, pressure
from engine.serving.sequences import Sequence
from engine.serving.slots import Slots
from engine.serving.tenant import Key, Tenant

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

_AHEAD: Final = 2.0
"""A tenant that has received more, by so many times what it may go ahead, must wait for places."""


@dataclass(slots=True)
class AdapterState:
    """One adapter's context: its slots, what runs in them and what waits for them.

    Its last step with prompts was `smooth` steps before, at `stalled_us`.
    """

    slots: Slots
    above: Queue
    below: Queue
    running: list[Sequence] = field(default_factory=list)
    stepped: int = 0
    smooth: int = 0
    stalled_us: int = 0

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
    tenant = _next(scheduler, queue)
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
    holder = _holder(scheduler, adapter, tenant, sequence)
    if holder is None:
        return None
    scheduler.park(holder)
    return sequence


def gets(scheduler: Scheduler, adapter: AdapterState, tenant: Tenant, sequence: Sequence) -> bool:
    """Whether there is a place for the next sequence of a tenant, or another would give one up."""
    if adapter.free > 0 and scheduler.running < scheduler.knobs.max_running:
        return True
    if any(s.background for s in adapter.running):
        return True
    return _holder(scheduler, adapter, tenant, sequence) is not None


def yields(scheduler: Scheduler, adapter: AdapterState, sequence: Sequence) -> int:
    """How many places running sequences would give up to a newcomer on this adapter."""
    if sequence.background:
        return 0
    low = sum(s.background for s in adapter.running)
    tenant = scheduler.above.of(sequence.tenant)
    if low or tenant.waits:
        return low
    return int(_holder(scheduler, adapter, tenant, sequence) is not None)


def _before(
    scheduler: Scheduler, other: AdapterState, tenant: Tenant, sequence: Sequence, now_us: int
) -> int:
    """How many places another adapter's sequences take before this one."""
    if sequence.background and other.above.count:
        return min(other.above.count, other.free)
    queue = other.queue(background=sequence.background)
    first = _next(scheduler, queue)
    if first is None:
        return 0
    head = queue.head(first, scheduler.knobs, now_us)
    if first is tenant:
        knobs = scheduler.knobs
        return int(pressure(head, knobs, now_us) > pressure(sequence, knobs, now_us))
    return int(_key(scheduler, first, head) < _key(scheduler, tenant, sequence))


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


def _next(scheduler: Scheduler, queue: Queue) -> Tenant | None:
    """The tenant that goes next: of those that are entitled to a place, if there are any.

    They are only looked for while there are no more tenants than places.
    """
    top, tenants = queue.top(), queue.tenants
    if top is None or not 1 < tenants.present <= scheduler.knobs.max_running:
        return top
    heads = [(each, head) for each in queue.waiting() if (head := queue.first(each)) is not None]
    return min(heads, key=lambda each: _key(scheduler, *each))[0]


def _key(scheduler: Scheduler, tenant: Tenant, head: Sequence) -> tuple[bool, Key]:
    return (not _entitled(scheduler, tenant, head), tenant.key(head))


def _entitled(scheduler: Scheduler, tenant: Tenant, head: Sequence) -> bool:
    """Whether it goes ahead, or holds less than its share of the places.

    Unless it has received much more than others that wait. Time is shared by turns; without a place
    a tenant could not have its own.
    """
    tenants = scheduler.tenants(background=head.background)
    if tenant.running >= tenants.share(scheduler.knobs.max_running) and not tenant.lead(head):
        return False
    return tenants.ahead_us(tenant) <= _AHEAD * tenants.slack_us


def _holder(
    scheduler: Scheduler, adapter: AdapterState, tenant: Tenant, head: Sequence
) -> Sequence | None:
    """A sequence that should give its place to this tenant: of the tenant that holds most.

    To one that is entitled to a place, that one gives what it holds beyond its own share; to one
    that goes ahead, all but one: short requests do not hold theirs for long. To others it gives one
    if it was served as much and holds twice as many even afterwards. So two tenants that use the
    worker alike never park each other. What has been parked least often, and is the least to
    compute again, is parked.
    """
    if scheduler.running > scheduler.knobs.max_running:
        return None
    adapters = [adapter] if adapter.free <= 0 else list(scheduler.adapters.values())
    running = [s for each in adapters for s in each.running if not s.background]
    if not running:
        return None
    most = max((scheduler.above.of(s.tenant) for s in running), key=lambda t: t.running)
    share = scheduler.above.share(scheduler.knobs.max_running)
    if not _entitled(scheduler, tenant, head):
        gives = most.running >= 2 * (tenant.running + 1) and most.served >= tenant.served
    elif tenant.lead(head):
        gives = most.running > 1
    else:
        gives = most.running > share and not most.lead_us
    if most is tenant or not gives:
        return None
    held = [s for s in running if s.tenant == most.name]
    return min(held, key=lambda s: (-s.class_, s.parks, s.resident, -s.id))
