"""What waits on one adapter, in fair order: the least served tenant first.

Within a tenant each class gains priority while it waits, weight x (age + 1 s); within a class the
first to come is the first to go, parked sequences before new ones. One queue holds either
background or the classes above it. Pure; imports the standard library only. Imported by the
scheduler and its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engine.serving.fairness import Tenants
from engine.serving.knobs import Knobs
from engine.serving.sequences import Class, Sequence
from engine.serving.tenant import Order, Tenant

_SECOND_US: Final = 1_000_000


@dataclass(slots=True)
class _Line:
    """What one tenant has waiting in one class, by id, the oldest first."""

    parked: dict[int, Sequence] = field(default_factory=dict)
    fresh: dict[int, Sequence] = field(default_factory=dict)

    def head(self) -> Sequence | None:
        """The next one."""
        return next(iter((self.parked or self.fresh).values()), None)


class Queue:
    """The waiting sequences of one adapter, `count` of them; `fresh` were never started.

    `tokens` are the prompt tokens of the fresh ones.
    """

    def __init__(self, tenants: Tenants) -> None:
        """Empty; `tenants` are those of the whole worker."""
        self.tenants = tenants
        self._lines: dict[str, dict[Class, _Line]] = {}
        self._order = Order(self.first)
        self.count = self.fresh = self.tokens = 0

    def push(self, sequence: Sequence, *, parked: bool = False) -> None:
        """Add a sequence."""
        lines = self._lines.setdefault(sequence.tenant, {})
        line = lines.setdefault(sequence.class_, _Line())
        (line.parked if parked else line.fresh)[sequence.id] = sequence
        self.count += 1
        if not parked:
            self.fresh += 1
            self.tokens += sequence.prompt_tokens
        self.tenants.joins(sequence, fresh=not parked)
        self._order.add(self.tenants.of(sequence.tenant))

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out of any position."""
        lines = self._lines[sequence.tenant]
        line = lines[sequence.class_]
        if line.parked.pop(sequence.id, None) is None:
            del line.fresh[sequence.id]
            self.fresh -= 1
            self.tokens -= sequence.prompt_tokens
        self.count -= 1
        if line.head() is None:
            del lines[sequence.class_]
            if not lines:
                del self._lines[sequence.tenant]
        self.tenants.leaves(sequence)
        self._order.add(self.tenants.of(sequence.tenant))

    def lowered(self, tenant: Tenant) -> None:
        """A tenant may go earlier than before."""
        self._order.add(tenant)

    def top(self) -> Tenant | None:
        """The tenant that goes next."""
        return self._order.top()

    def waiting(self) -> Iterator[Tenant]:
        """All tenants that wait here."""
        return map(self.tenants.of, self._lines)

    def head(self, tenant: Tenant, knobs: Knobs, now_us: int) -> Sequence:
        """The next sequence of a tenant that waits here."""
        heads = [h for line in self._lines[tenant.name].values() if (h := line.head()) is not None]
        return max(heads, key=lambda head: pressure(head, knobs, now_us))

    def first(self, tenant: Tenant) -> Sequence | None:
        """The head of its most urgent class; None when it does not wait here."""
        lines = self._lines.get(tenant.name)
        return lines[min(lines)].head() if lines else None


def pressure(head: Sequence, knobs: Knobs, now_us: int) -> tuple[int, int, int, int]:
    """How urgent it is among its tenant's own; the greatest goes first."""
    age = max(now_us - head.arrived_us, 0) + _SECOND_US
    return (knobs.weight(head.class_) * age, -head.class_, -head.arrived_us, -head.id)
