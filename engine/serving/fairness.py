"""The queue of one class on one adapter: tenants share by a virtual token counter.

Sheng et al. 2024, "Fairness in Serving Large Language Models" (VTC): each tenant's counter grows by
what it was served, the waiting tenant with the least counter goes next, and a tenant that comes
back is lifted to the others, so that idling earns nothing. Within a tenant: first come, first
served, parked sequences before new ones.

Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from engine.serving.sequences import Sequence

PROMPT_WEIGHT: Final = 1
COMPLETION_WEIGHT: Final = 2


class _Waiting:
    """What one tenant has in the queue, by id, oldest first."""

    __slots__ = ("fresh", "parked")

    def __init__(self) -> None:
        self.parked: dict[int, Sequence] = {}
        self.fresh: dict[int, Sequence] = {}

    def __len__(self) -> int:
        return len(self.parked) + len(self.fresh)

    def head(self) -> Sequence:
        return next(iter((self.parked or self.fresh).values()))


class Queue:
    """Waiting sequences in fair order.

    `count` of them, `fresh` of which were never started, with `tokens` prompt tokens in all.
    """

    def __init__(self) -> None:
        """Empty, every counter at zero."""
        self._tenants: dict[str, _Waiting] = {}
        self._served: dict[str, float] = {}
        self._last_left = 0.0
        self.count = 0
        self.fresh = 0
        self.tokens = 0

    def served(self, tenant: str) -> float:
        """The virtual tokens charged to a tenant."""
        return self._served.get(tenant, 0.0)

    def push(self, sequence: Sequence, *, parked: bool = False) -> None:
        """Add a sequence; a tenant without waiting sequences is lifted first."""
        tenant = sequence.tenant
        waiting = self._tenants.get(tenant)
        if waiting is None:
            floor = min((self.served(t) for t in self._tenants), default=self._last_left)
            self._served[tenant] = max(self.served(tenant), floor)
            waiting = self._tenants[tenant] = _Waiting()
        (waiting.parked if parked else waiting.fresh)[sequence.id] = sequence
        self.count += 1
        if not parked:
            self.fresh += 1
            self.tokens += sequence.prompt_tokens

    def peek(self) -> Sequence | None:
        """The next sequence."""
        if not self._tenants:
            return None
        heads = ((self._served[t], w.head().arrived_us, t) for t, w in self._tenants.items())
        return self._tenants[min(heads)[2]].head()

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out of any position."""
        tenant = sequence.tenant
        waiting = self._tenants[tenant]
        if waiting.parked.pop(sequence.id, None) is None:
            del waiting.fresh[sequence.id]
            self.fresh -= 1
            self.tokens -= sequence.prompt_tokens
        self.count -= 1
        if not waiting:
            del self._tenants[tenant]
            self._last_left = self.served(tenant)

    def charge(self, tenant: str, *, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Count what a tenant was served."""
        charged = PROMPT_WEIGHT * prompt_tokens + COMPLETION_WEIGHT * completion_tokens
        self._served[tenant] = self.served(tenant) + charged

    def oldest_us(self) -> int | None:
        """When the sequence that waits longest arrived."""
        return min((w.head().arrived_us for w in self._tenants.values()), default=None)

    def ahead(self, tenant: str) -> tuple[int, int]:
        """How many (sequences, prompt tokens) go before a newcomer of this tenant, about."""
        own = self._tenants.get(tenant)
        turn = len(own) + 1 if own else 1
        before = (len(own) if own else 0) + sum(
            min(len(w), turn) for t, w in self._tenants.items() if t != tenant
        )
        tokens = self.tokens * before // self.count if self.count else 0
        return before, tokens

    def displaceable(self, tenant: str | None) -> Iterator[Sequence]:
        """The newest of the tenants that hold most, while they hold two more than `tenant` does.

        A tenant of None is a newcomer of a higher class: any tenant's newest may go.
        """
        least = 0
        if tenant is not None:
            own = self._tenants.get(tenant)
            least = (len(own.fresh) if own else 0) + 1
        for waiting in sorted(self._tenants.values(), key=lambda w: len(w.fresh), reverse=True):
            spare = max(len(waiting.fresh) - least, 0)
            yield from islice(reversed(waiting.fresh.values()), spare)
