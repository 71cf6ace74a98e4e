"""Which inputs of embeddings are computed next: by class, then the tenant that received least.

Sheng et al. 2024, "Fairness in Serving Large Language Models" (VTC), with tokens as the measure: a
tenant's counter grows by the tokens that were taken for it, and a tenant that comes back is lifted
to the others, so that idling earns nothing. Within a tenant and class the first to come goes first.
An input is computed whole, and the step is its only one, so there is nothing to preempt.

A tenant may have so much waiting in a class and those above it, whatever others have. All tenants
together may have OVERALL times as much, for the sake of memory: beyond that background gives way.

Pure; imports the standard library only. Imported by `engine.serving.embedding` and
`embedding_worker`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from engine.serving.sequences import Class

OVERALL: Final = 8
"""What all tenants may have waiting, as a multiple of what one may."""
_KEPT: Final = 4096
"""Tenants whose counters are kept while they ask for nothing."""


@dataclass(slots=True, eq=False)
class Asked:
    """One request: the tokens of its inputs, and how far it is; times in microseconds.

    `taken` inputs were taken for a step, the others have `left` tokens. It is refused if none was
    taken before `deadline_us`, unless it is a `further` part of a request, which ends with the
    first one.
    """

    id: int
    class_: Class
    tenant: str
    inputs: list[list[int]]
    arrived_us: int
    deadline_us: int
    further: bool = False
    taken: int = 0
    started_us: int = -1
    busy_us: int = 0
    left: int = field(init=False)

    def __post_init__(self) -> None:
        """Nothing was taken yet."""
        self.left = sum(map(len, self.inputs))


@dataclass(slots=True)
class _Tenant:
    received: int = 0
    waiting: dict[Class, deque[Asked]] = field(default_factory=dict)


class InputQueue:
    """The requests of which not all inputs were taken; `count` of them have `tokens` left."""

    def __init__(self) -> None:
        """Empty."""
        self._tenants: dict[str, _Tenant] = {}
        self._least = 0
        self.count = self.tokens = 0

    def push(self, asked: Asked) -> None:
        """Add a request."""
        tenant = self._tenants.get(asked.tenant)
        if tenant is None:
            self._forget()
            tenant = self._tenants[asked.tenant] = _Tenant()
        if not tenant.waiting:
            tenant.received = max(tenant.received, self._least)
        tenant.waiting.setdefault(asked.class_, deque()).append(asked)
        self.count += 1
        self.tokens += asked.left

    def displaced(
        self, tenant: str, class_: Class, limit: int, tokens_limit: int
    ) -> list[Asked] | None:
        """The requests that leave so that one more fits; None: no room can be made.

        `limit` (requests) and `tokens_limit` are those of a tenant, and what waits may exceed them
        by one request.
        """
        own = self._tenants.get(tenant)
        lines = own.waiting.items() if own else ()
        held = [asked for other, line in lines if other <= class_ for asked in line]
        if len(held) > limit or sum(asked.left for asked in held) > tokens_limit:
            return None
        count = self.count - OVERALL * max(1, limit)
        tokens = self.tokens - OVERALL * tokens_limit
        displaced: list[Asked] = []
        for asked in self._newest_background() if class_ < Class.BACKGROUND else ():
            if count <= 0 and tokens <= 0:
                break
            displaced.append(asked)
            count -= 1
            tokens -= asked.left
        return displaced if count <= 0 and tokens <= 0 else None

    def _newest_background(self) -> list[Asked]:
        """The background requests that have not begun, the last to come first."""
        waiting = [
            asked
            for tenant in self._tenants.values()
            for asked in tenant.waiting.get(Class.BACKGROUND, ())
            if not asked.taken and not asked.further
        ]
        return sorted(waiting, key=lambda asked: -asked.arrived_us)

    def take(self, room: int, most: int, now_us: int) -> list[tuple[Asked, int]]:
        """(request, index of its input) of the next step: `most` inputs with `room` tokens.

        The first one is taken whatever its size; background waits while there is other work.
        """
        taken: list[tuple[Asked, int]] = []
        while len(taken) < most and (found := self._next()) is not None:
            tenant, asked = found
            size = len(asked.inputs[asked.taken])
            if taken and size > room:
                break
            if taken and asked.class_ is Class.BACKGROUND and taken[0][0].class_ < asked.class_:
                break
            taken.append((asked, asked.taken))
            asked.taken += 1
            if asked.started_us < 0:
                asked.started_us = now_us
            room -= size
            self._least = tenant.received
            tenant.received += size
            self.tokens -= size
            asked.left -= size
            if asked.taken == len(asked.inputs):
                self._remove(tenant, asked)
        return taken

    def drop(self, asked: Asked) -> None:
        """Remove a request that was cancelled or refused; one that is not here is left alone."""
        tenant = self._tenants.get(asked.tenant)
        if tenant is None or asked not in tenant.waiting.get(asked.class_, ()):
            return
        self.tokens -= asked.left
        self._remove(tenant, asked)

    def expired(self, now_us: int) -> list[Asked]:
        """The requests that should have begun, removed."""
        late = [
            asked
            for tenant in self._tenants.values()
            for line in tenant.waiting.values()
            for asked in line
            if not asked.taken and not asked.further and asked.deadline_us <= now_us
        ]
        for asked in late:
            self.drop(asked)
        return late

    def oldest_us(self, now_us: int) -> int:
        """How long the oldest has waited that did not begin; 0 without any."""
        arrived = [
            asked.arrived_us
            for tenant in self._tenants.values()
            for line in tenant.waiting.values()
            for asked in line
            if not asked.taken
        ]
        return now_us - min(arrived) if arrived else 0

    def _next(self) -> tuple[_Tenant, Asked] | None:
        best: tuple[Class, int] | None = None
        chosen: tuple[_Tenant, Asked] | None = None
        for tenant in self._tenants.values():
            for class_, line in tenant.waiting.items():
                if best is None or (class_, tenant.received) < best:
                    best, chosen = (class_, tenant.received), (tenant, line[0])
        return chosen

    def _remove(self, tenant: _Tenant, asked: Asked) -> None:
        line = tenant.waiting[asked.class_]
        line.remove(asked)
        if not line:
            del tenant.waiting[asked.class_]
        self.count -= 1

    def _forget(self) -> None:
        """Keep the counters of idle tenants within their bound."""
        if len(self._tenants) >= _KEPT:
            self._tenants = {name: each for name, each in self._tenants.items() if each.waiting}
