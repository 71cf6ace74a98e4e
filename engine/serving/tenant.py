"""One tenant's part of a worker, and the order in which tenants that wait go.

Pure; imports the standard library only. Imported by `fairness` and its neighbours.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.serving.sequences import Class, Sequence

Key = tuple[float, int, int, int, int]
"""Orders the heads of tenants: counter, running, class, arrival, number."""


@dataclass(slots=True)
class Backlog:
    """What waits, in numbers: sequences, their prompt tokens and the limits of their answers."""

    count: int = 0
    prompt_tokens: int = 0
    max_tokens: int = 0

    def add(self, sequence: Sequence, sign: int = 1) -> None:
        """Count a sequence in, or out."""
        self.count += sign
        self.prompt_tokens += sign * sequence.prompt_tokens
        self.max_tokens += sign * sequence.max_tokens


@dataclass(slots=True, eq=False)
class Tenant:
    """One tenant's part of a worker; times are microseconds.

    `served` was computed for it, and `prepaid_us` of that is expected of what runs; `turns` was
    computed. It may go ahead by `lead_us`, of a credit that is `credit_us` since `credited_us`.
    `fresh` were never started, by id, the oldest first. Refused clients were asked to return from
    `retry_from_us` to `retry_us`, `retry_spacing` requests apart.
    """

    name: str
    served: float = 0.0
    prepaid_us: float = 0.0
    turns: float = 0.0
    lead_us: float = 0.0
    credit_us: float = math.inf
    credited_us: int = 0
    running: int = 0
    waiting: dict[Class, Backlog] = field(default_factory=lambda: {c: Backlog() for c in Class})
    fresh: dict[Class, dict[int, Sequence]] = field(default_factory=lambda: {c: {} for c in Class})
    retry_from_us: int = 0
    retry_us: int = 0
    retry_spacing: float = 1.0

    @property
    def received(self) -> float:
        """What was computed for it already."""
        return self.served - self.prepaid_us

    @property
    def waits(self) -> bool:
        """Whether it has anything in a queue."""
        return any(backlog.count for backlog in self.waiting.values())

    @property
    def unstarted(self) -> int:
        """How many of its sequences were never started."""
        return sum(map(len, self.fresh.values()))

    @property
    def asked(self) -> int:
        """How many of its sequences run or wait."""
        return self.running + sum(backlog.count for backlog in self.waiting.values())

    def lead(self, head: Sequence) -> float:
        """How far it goes ahead for this sequence, its next."""
        return self.lead_us if head.short and head.started_us < 0 else 0.0

    def key(self, head: Sequence) -> Key:
        """Its place in the order when this sequence is its next: the least goes first.

        What is expected of its other sequences does not keep one back that goes ahead.
        """
        lead_us = self.lead(head)
        served = self.received - lead_us if lead_us else self.served
        return (served, self.running, head.class_, head.arrived_us, head.id)


class Order:
    """Waiting tenants, the least served first.

    A heap that is put right when its top is looked at; a key that fell is added once more.
    """

    def __init__(self, head: Callable[[Tenant], Sequence | None]) -> None:
        """`head` is a tenant's next sequence; None: it does not wait here any more."""
        self._head = head
        self._heap: list[tuple[Key, str, Tenant]] = []
        self._keys: dict[str, Key] = {}

    def add(self, tenant: Tenant) -> None:
        """It waits now, or goes earlier than before."""
        head = self._head(tenant)
        if head is None:
            return
        key, known = tenant.key(head), self._keys.get(tenant.name)
        if known is None or key < known:
            self._keys[tenant.name] = key
            heapq.heappush(self._heap, (key, tenant.name, tenant))

    def top(self) -> Tenant | None:
        """The tenant that goes next."""
        while self._heap:
            key, name, tenant = self._heap[0]
            if self._keys.get(name) != key:
                heapq.heappop(self._heap)
            elif (head := self._head(tenant)) is None:
                heapq.heappop(self._heap)
                del self._keys[name]
            elif key == (now := tenant.key(head)):
                return tenant
            else:
                self._keys[name] = now
                heapq.heapreplace(self._heap, (now, name, tenant))
        return None
