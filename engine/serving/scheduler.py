"""Decides what each step computes: state and clock in, plan out.

Decode first, then at most `prefill_budget` prompt tokens. Tenants share the worker: the least
served takes the next place (`places`), and each has its turn to say which context steps, in equal
time (`turns`). Short requests of a tenant that asks for little go ahead of its share, on bounded
credit (`leads`), in steps that what others compute hardly lengthens (`filling`). Short prompts may
wait for one another, so that streams seldom stall (`gathering`). Within a tenant interactive goes
before batch. Background comes after both, whatever its age: it takes a place that no higher class
wants, gives it back when one does, and in steps shared with others takes at most its weighted share
of their measured time. The queue is bounded, and what cannot start in time is refused at once with
the estimated wait (`admission`).

Never touches a token, a socket or a clock. Imports the standard library only. Imported by the
worker.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection
from typing import Final

from engine.serving import admission, charges, filling, leads, step_cost, turns, waits
from engine.serving.admission import Refusal
from engine.serving.fairness import Tenants
from engine.serving.knobs import Knobs
from engine.serving.places import AdapterState
from engine.serving.prefix_cache import PrefixCache
from engine.serving.queues import Queue
from engine.serving.sequences import Sequence, State
from engine.serving.slots import Slots
from engine.serving.steady import Steady
from engine.serving.step_plan import Plan

_STALE: Final = 64


class Scheduler:
    """The sequences of one worker, on all its adapters.

    `above` are the tenants of interactive and batch, `below` those of background, which may compute
    for `credit_us` beside the others.
    """

    def __init__(
        self,
        *,
        slots: int,
        sequence_tokens: int,
        room: int,
        knobs: Knobs,
        scored_outputs: int = 32,
        cuts: bool = True,
    ) -> None:
        """`slots` per adapter, each of `sequence_tokens`; a step never exceeds `room` tokens.

        Nor does it give more than `scored_outputs` logits rows to sequences that are scored.
        `cuts`: the memory of a sequence can be cut at any token.
        """
        self._knobs = knobs
        self.cost = step_cost.Cost()
        self.rates = step_cost.Rates()
        self.sequence_tokens = sequence_tokens
        self.room = room
        self.adapters: dict[str, AdapterState] = {}
        self.live: dict[int, Sequence] = {}
        self.above = Tenants()
        self.below = Tenants()
        self.running = 0
        self._slots = slots
        self._cuts = cuts
        self.scored_outputs = scored_outputs
        self._requests: dict[int, int] = {}
        self._begun: set[int] = set()
        self._deadlines: list[tuple[int, int, Sequence]] = []
        self._arrivals: list[tuple[int, int, Sequence]] = []
        self._pushed = 0
        self._steps = 0
        self._steady = Steady(self)
        self.credit_us = 0.0

    # state

    @property
    def knobs(self) -> Knobs:
        """Those in force."""
        return self._knobs

    @knobs.setter
    def knobs(self, knobs: Knobs) -> None:
        if knobs != self._knobs:
            self._steady.interrupt()
            self._knobs = knobs

    @property
    def waiting(self) -> int:
        """How many sequences wait for a slot."""
        return sum(each.above.count + each.below.count for each in self.adapters.values())

    def oldest_waiting_us(self, now_us: int) -> int:
        """How long the first in all queues has waited."""
        arrivals = self._arrivals
        while arrivals and not _waits(arrivals[0][2]):
            heapq.heappop(arrivals)
        return max(0, now_us - arrivals[0][0]) if arrivals else 0

    def resident_tokens(self) -> int:
        """Tokens in the KV memory of all contexts."""
        return sum(s.resident for adapter in self.adapters.values() for s in adapter.running)

    def tenants(self, *, background: bool) -> Tenants:
        """The tenants of background, or of the classes above it."""
        return self.below if background else self.above

    # arrivals and ends

    def add_adapter(self, adapter: str) -> None:
        """A context for this adapter exists now."""
        cache = PrefixCache(self.sequence_tokens, cuts=self._cuts)
        self.adapters[adapter] = AdapterState(
            Slots(self._slots, cache), Queue(self.above), Queue(self.below)
        )

    def remove_adapter(self, adapter: str) -> list[Sequence]:
        """The context is going away: end its sequences and return them."""
        ended = [s for s in self.live.values() if s.adapter == adapter]
        for sequence in ended:
            self.end(sequence)
        del self.adapters[adapter]
        return ended

    def submit(self, sequence: Sequence, now_us: int) -> tuple[Refusal, ...]:
        """Admit a sequence or refuse it; admitting it may displace others from the queue."""
        self._at(now_us)
        self._steady.interrupt()
        refusal, displaced = admission.judge(self, sequence, now_us)
        if refusal is not None:
            sequence.move(State.ENDED)
            return (refusal,)
        refusals: list[Refusal] = []
        for other in displaced:
            self.end(other)
            refusals.append(admission.full(self, other, now_us))
        self.live[sequence.id] = sequence
        sequence.request = sequence.request or sequence.id
        self._requests[sequence.request] = self._requests.get(sequence.request, 0) + 1
        self._queue(sequence).push(sequence)
        leads.arrived(self, sequence, now_us)
        self._remember(self._arrivals, sequence.arrived_us, sequence, _waits)
        self._remember(self._deadlines, sequence.deadline_us, sequence, _awaited)
        return tuple(refusals)

    def _remember(
        self,
        heap: list[tuple[int, int, Sequence]],
        at_us: int,
        sequence: Sequence,
        matters: Callable[[Sequence], bool],
    ) -> None:
        """Add to a heap; entries that do not matter any more are dropped before they are many."""
        self._pushed += 1
        if len(heap) > 2 * len(self.live) + _STALE:
            heap[:] = [entry for entry in heap if matters(entry[2])]
            heapq.heapify(heap)
        heapq.heappush(heap, (at_us, self._pushed, sequence))

    def end(self, sequence: Sequence, *, keep: bool = True) -> None:
        """Free everything that a sequence holds; final.

        Its memory may be kept for others, unless what is in it is not sure.
        """
        self._steady.interrupt()
        if sequence.state is State.RUNNING:
            self._release(sequence, keep=keep)
        else:
            self._queue(sequence).remove(sequence)
        sequence.move(State.ENDED)
        del self.live[sequence.id]
        self._requests[sequence.request] -= 1
        if not self._requests[sequence.request]:
            del self._requests[sequence.request]
            self._begun.discard(sequence.request)

    def start(self, adapter: AdapterState, sequence: Sequence, now_us: int) -> None:
        """Give it a place, and charge its tenant what it is expected to take."""
        adapter.queue(background=sequence.background).remove(sequence)
        tenants = self.tenants(background=sequence.background)
        if sequence.state is State.WAITING:
            sequence.started_us = now_us
        adapter.slots.reuse = bool(self.knobs.prefix_cache)
        adapter.slots.begin(sequence)
        counts = charges.weights(self.knobs)[sequence.class_]
        sequence.prepaid_us = waits.remaining_us(self, sequence) * counts
        tenants.prepay(tenants.of(sequence.tenant), sequence.prepaid_us)
        sequence.move(State.RUNNING)
        adapter.running.append(sequence)
        self.running += 1
        tenants.runs(sequence)

    def park(self, sequence: Sequence) -> None:
        """Take a sequence's slot; what is not cached of it then is computed anew later."""
        self._release(sequence)
        sequence.move(State.PARKED)
        sequence.parks += 1
        self._queue(sequence).push(sequence, parked=True)
        self._remember(self._arrivals, sequence.arrived_us, sequence, _waits)

    def _release(self, sequence: Sequence, *, keep: bool = True) -> None:
        adapter = self.adapters[sequence.adapter]
        adapter.running.remove(sequence)
        adapter.slots.reuse = bool(self.knobs.prefix_cache)
        adapter.slots.release(sequence, keep=keep)
        self.running -= 1
        tenants = self.tenants(background=sequence.background)
        tenants.stops(sequence)
        tenant = tenants.of(sequence.tenant)
        tenants.prepay(tenant, -sequence.prepaid_us)
        sequence.prepaid_us = 0.0
        for each in self.adapters.values():
            each.queue(background=sequence.background).lowered(tenant)

    def _queue(self, sequence: Sequence) -> Queue:
        return self.adapters[sequence.adapter].queue(background=sequence.background)

    def _expired(self, now_us: int) -> list[Refusal]:
        """End the sequences without a first token at their deadline.

        Not those of a request that has one: the others of its answers are worth their wait.
        """
        late: list[Refusal] = []
        while self._deadlines and self._deadlines[0][0] <= now_us:
            sequence = heapq.heappop(self._deadlines)[2]
            if not _awaited(sequence) or sequence.request in self._begun:
                continue
            self.end(sequence)
            late.append(admission.late(self, sequence, now_us))
        return late

    def next_deadline_us(self) -> float:
        """The first deadline of a sequence that has no token yet, infinity without one."""
        deadlines = self._deadlines
        while deadlines and not _awaited(deadlines[0][2]):
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else math.inf

    # one step

    def _at(self, now_us: int) -> None:
        self.above.at(now_us)
        self.below.at(now_us)

    def plan(self, now_us: int) -> Plan:
        """What the next step computes."""
        self._at(now_us)
        plan = self._steady.next()
        if plan is None:
            plan = self._decided(now_us)
            self._steady.follow(plan)
        return plan

    def _decided(self, now_us: int) -> Plan:
        refusals = tuple(self._expired(now_us))
        foreground = any(a.has(background=False) for a in self.adapters.values())
        if not foreground:
            self.credit_us = 0.0
        for contended in (True, False) if foreground else (False,):
            for tenant, name in turns.order(self, contended=contended):
                plan = filling.fill(
                    self, name, tenant, now_us, contended=contended, refusals=refusals
                )
                if plan.rows:
                    return plan
        return Plan("", "", (), (), 0, 0, foreground, refusals)

    def settle(self, plan: Plan, ended: Collection[Sequence], busy_us: int, now_us: int) -> None:
        """Account for a computed step, in which the `ended` sequences were completed."""
        self._at(now_us)
        self._steps += 1
        adapter = self.adapters[plan.adapter]
        adapter.stepped = self._steps
        if plan.prefill:
            adapter.smooth, adapter.stalled_us = 0, now_us
        else:
            adapter.smooth += 1
        known = self.cost.known
        self._steady.settle(plan, busy_us, ends=bool(ended))
        if self.cost.known and not known:
            for sequence in self.live.values():  # nothing told which are short when they arrived
                leads.arrived(self, sequence, now_us)
        for sequence, _, count, outputs in plan.rows:
            sequence.resident += count
            if not outputs:
                continue
            if sequence.first_us < 0:
                sequence.first_us = now_us
                self._begun.add(sequence.request)
            if not sequence.scored:
                sequence.completion_tokens += 1
        for sequence in ended:
            self.rates.ended(sequence.busy_us, sequence.completion_tokens)
            self.end(sequence)


def _awaited(sequence: Sequence) -> bool:
    """Whether it has no first token yet."""
    return sequence.state is not State.ENDED and sequence.first_us < 0


def _waits(sequence: Sequence) -> bool:
    """Whether it is in a queue."""
    return sequence.state in {State.WAITING, State.PARKED}
