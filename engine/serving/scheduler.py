"""Decides what each step holds: state and clock in, plan out.

Decode first, then at most `prefill_budget` prompt tokens. Interactive before batch: each waits with
priority weight x (age + 1 s), so that neither starves. Background comes after both, whatever its
age: it takes a slot that nobody above wants, gives it back when somebody does, and in steps shared
with others may take only its weighted share of their measured time. Within a class tenants are
served by `fairness`. Adapters take turns, step by step. The queue is bounded, and what cannot be in
time is refused at once with the wait that would have been.

Never touches a token, a socket or a clock. Standard library alone. Imported by the worker.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from engine.serving import admission, meter
from engine.serving.fairness import Queue
from engine.serving.knobs import Knobs
from engine.serving.sequences import Class, Sequence, State
from engine.serving.slots import Slots
from engine.serving.step_plan import Plan, Refusal, Row

SECOND_US: Final = 1_000_000
CREDIT_MOST_US: Final = 200_000.0
_STALE_MOST: Final = 64


@dataclass(slots=True)
class AdapterState:
    """One context: its slots, what runs in them and what waits for them."""

    slots: Slots
    running: list[Sequence] = field(default_factory=list)
    queues: dict[Class, Queue] = field(
        default_factory=lambda: {class_: Queue() for class_ in Class}
    )
    stepped: int = 0

    @property
    def free(self) -> int:
        """How many more sequences may start; a slot is given out only when a step is arranged."""
        return self.slots.size - len(self.running)

    def has(self, *, upper: bool) -> bool:
        """Whether a class above background (or background itself) runs or waits here."""
        if any((s.class_ < Class.BACKGROUND) == upper for s in self.running):
            return True
        return any(q.count for k, q in self.queues.items() if (k < Class.BACKGROUND) == upper)


class Scheduler:
    """The sequences of one worker, over all its adapters."""

    def __init__(self, *, slots: int, sequence_tokens: int, room: int, knobs: Knobs) -> None:
        """`slots` per adapter, each of `sequence_tokens`; a step never exceeds `room` tokens."""
        self.knobs = knobs
        self.cost = meter.Cost()
        self.residence_us = meter.Average()
        self.sequence_tokens = sequence_tokens
        self.room = room
        self.adapters: dict[str, AdapterState] = {}
        self.live: dict[int, Sequence] = {}
        self._slots = slots
        self._deadlines: list[tuple[int, int, Sequence]] = []
        self._pushed = 0
        self._turns = 0
        self._credit_us = 0.0

    # what there is

    @property
    def running(self) -> int:
        """How many sequences hold a slot."""
        return sum(len(adapter.running) for adapter in self.adapters.values())

    @property
    def waiting(self) -> int:
        """How many sequences wait for one."""
        return sum(queue.count for queue in self._queues())

    def oldest_waiting_us(self, now_us: int) -> int:
        """How long the one that waits longest has waited."""
        arrivals = [at for queue in self._queues() if (at := queue.oldest_us()) is not None]
        return max(0, now_us - min(arrivals)) if arrivals else 0

    def resident_tokens(self) -> int:
        """Tokens in the KV memory of all adapters."""
        return sum(s.resident for adapter in self.adapters.values() for s in adapter.running)

    def _queues(self) -> Iterator[Queue]:
        return (queue for adapter in self.adapters.values() for queue in adapter.queues.values())

    # what comes and goes

    def open(self, adapter: str) -> None:
        """A context for this adapter set exists now."""
        self.adapters[adapter] = AdapterState(Slots(self._slots))

    def submit(self, sequence: Sequence, now_us: int) -> tuple[Refusal, ...]:
        """Let a sequence in, or say why not; letting it in may push another one out."""
        refusal, displaced = admission.judge(self, sequence, now_us)
        if refusal is not None:
            sequence.move(State.ENDED)
            return (refusal,)
        refusals: list[Refusal] = []
        for other in displaced:
            self.end(other)
            wait = admission.wait_us(self, other)
            refusals.append(admission.full(other, self.knobs, wait))
        self.live[sequence.id] = sequence
        self.adapters[sequence.adapter].queues[sequence.class_].push(sequence)
        self._pushed += 1
        if len(self._deadlines) > 2 * len(self.live) + _STALE_MOST:
            self._deadlines = [entry for entry in self._deadlines if _awaited(entry[2])]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (sequence.deadline_us, self._pushed, sequence))
        return tuple(refusals)

    def end(self, sequence: Sequence) -> None:
        """Free whatever a sequence holds; it never comes back."""
        adapter = self.adapters[sequence.adapter]
        if sequence.state is State.RUNNING:
            adapter.running.remove(sequence)
            adapter.slots.release(sequence)
        else:
            adapter.queues[sequence.class_].remove(sequence)
        sequence.move(State.ENDED)
        del self.live[sequence.id]

    def _park(self, sequence: Sequence) -> None:
        """Take a background sequence's slot; it keeps its tokens and is computed anew later."""
        adapter = self.adapters[sequence.adapter]
        adapter.running.remove(sequence)
        adapter.slots.release(sequence)
        sequence.move(State.PARKED)
        adapter.queues[sequence.class_].push(sequence, parked=True)

    def _expired(self, now_us: int) -> list[Refusal]:
        """End what has waited for its first token past its deadline."""
        late: list[Refusal] = []
        while self._deadlines and self._deadlines[0][0] <= now_us:
            sequence = heapq.heappop(self._deadlines)[2]
            if not _awaited(sequence):
                continue
            self.end(sequence)
            late.append(admission.late(sequence, admission.wait_us(self, sequence)))
        return late

    # one step

    def plan(self, now_us: int) -> Plan:
        """What the next step holds."""
        refusals = tuple(self._expired(now_us))
        upper = any(adapter.has(upper=True) for adapter in self.adapters.values())
        if not upper:
            self._credit_us = 0.0
        for contended in (True, False) if upper else (False,):
            for name in self._turn(upper=contended):
                plan = self._fill(name, now_us, upper=contended, refusals=refusals)
                if plan.rows:
                    return plan
        return Plan("", (), (), 0, 0, upper, refusals)

    def _turn(self, *, upper: bool) -> list[str]:
        """The adapters that may step now, the one that stepped longest ago first."""
        names = [
            name
            for name, adapter in self.adapters.items()
            if adapter.has(upper=True)
            or (adapter.has(upper=False) and (not upper or self._credit_us > 0))
        ]
        return sorted(names, key=lambda name: self.adapters[name].stepped)

    def _fill(self, name: str, now_us: int, *, upper: bool, refusals: tuple[Refusal, ...]) -> Plan:
        """Decode rows, then prompts under way, then new ones; background's prompts come last."""
        adapter = self.adapters[name]
        spare = self._credit_us if upper else float("inf")
        rows = [Row(s, s.resident, 1, True) for s in adapter.running if _above(s) and s.decoding]
        low = [s for s in adapter.running if not _above(s) and s.decoding]
        low.sort(key=lambda s: s.slot)
        for sequence in low:
            spare -= self.cost.decode
            if spare < 0:
                break
            rows.append(Row(sequence, sequence.resident, 1, True))
        budget = min(self.knobs.prefill_budget, self.room - len(rows))
        for above in (True, False):
            begun = [s for s in adapter.running if _above(s) == above and not s.decoding]
            for sequence in sorted(begun, key=lambda s: (s.class_, s.started_us)):
                budget, spare = self._feed(rows, sequence, budget, spare)
            while budget > 0 and (above or spare > self.cost.prefill):
                fresh = self._next(adapter, now_us)
                if fresh is None or _above(fresh) != above:
                    break
                self._start(adapter, fresh, now_us)
                budget, spare = self._feed(rows, fresh, budget, spare)
        adapter.slots.arrange(
            [s for s in adapter.running if _above(s)], [s for s in adapter.running if not _above(s)]
        )
        rows = [row for row in rows if row.sequence.state is State.RUNNING]  # less the parked
        rows.sort(key=lambda row: row.sequence.slot)
        decode = sum(row.sequence.decoding for row in rows)
        prefill = sum(row.tokens for row in rows) - decode
        carries = adapter.slots.orders() if rows else ()
        return Plan(name, carries, tuple(rows), decode, prefill, upper, refusals)

    def _feed(
        self, rows: list[Row], sequence: Sequence, budget: int, spare: float
    ) -> tuple[int, float]:
        """Add a piece of a prompt; return what is left of the budget and of background's time."""
        count = min(sequence.missing, budget)
        if not _above(sequence):
            each = self.cost.prefill
            if each > 0 and spare < count * each:
                count = max(int(spare / each), 0)
            spare -= count * each
        if count > 0:
            start = sequence.resident
            rows.append(Row(sequence, start, count, count == sequence.missing))
        return budget - count, spare

    def _next(self, adapter: AdapterState, now_us: int) -> Sequence | None:
        """Who in this adapter's queues may start now; parks background for it when it must."""
        free = self.knobs.max_running - self.running
        full = adapter.free <= 0 or free <= 0
        if full and not any(not _above(s) for at in self.adapters.values() for s in at.running):
            return None
        ranked = self._ranked(adapter, now_us)
        if not ranked:
            return None
        key, queue = ranked[0]
        sequence = queue.peek()
        if sequence is None:
            return None
        if full:
            return sequence if self._make_room(adapter, sequence) else None
        for other in self.adapters.values():
            if other is not adapter and other.free > 0:
                before = sum(q.count for k, q in self._ranked(other, now_us) if k > key)
                free -= min(before, other.free)
        return sequence if free > 0 else None

    def _ranked(self, adapter: AdapterState, now_us: int) -> list[tuple[tuple[bool, int], Queue]]:
        """This adapter's non-empty queues, the most pressing first; background always last."""
        ranked = [
            (
                class_ < Class.BACKGROUND,
                self.knobs.weight(class_) * (max(now_us - oldest, 0) + SECOND_US),
                -class_,
                queue,
            )
            for class_, queue in adapter.queues.items()
            if (oldest := queue.oldest_us()) is not None
        ]
        ranked.sort(key=lambda entry: entry[:3], reverse=True)
        return [((above, pressure), queue) for above, pressure, _, queue in ranked]

    def _make_room(self, adapter: AdapterState, sequence: Sequence) -> bool:
        """Park background sequences, as few as will do, for one of a higher class.

        More than one has to go when `max_running` was lowered below what runs.
        """
        if not _above(sequence):
            return False
        full = adapter.free <= 0
        victims = [s for at in self.adapters.values() for s in at.running if not _above(s)]
        victims.sort(key=lambda s: (full and s.adapter != sequence.adapter, s.resident))
        count = max(self.running - self.knobs.max_running, 0) + 1
        if len(victims) < count or (full and victims[0].adapter != sequence.adapter):
            return False
        for victim in victims[:count]:
            self._park(victim)
        return True

    def _start(self, adapter: AdapterState, sequence: Sequence, now_us: int) -> None:
        queue = adapter.queues[sequence.class_]
        queue.remove(sequence)
        if sequence.state is State.WAITING:
            queue.charge(sequence.tenant, prompt=sequence.prompt)
            sequence.started_us = now_us
        sequence.move(State.RUNNING)
        adapter.running.append(sequence)

    def settle(self, plan: Plan, ended: Collection[Sequence], busy_us: int, now_us: int) -> None:
        """Note what a step did: `ended` drew their last token in it."""
        adapter = self.adapters[plan.adapter]
        self._turns += 1
        adapter.stepped = self._turns
        self._account(plan, busy_us)
        for sequence, _, count, draws in plan.rows:
            sequence.resident += count
            if not draws:
                continue
            sequence.completion_tokens += 1
            if sequence.first_us < 0:
                sequence.first_us = now_us
            adapter.queues[sequence.class_].charge(sequence.tenant, completion_tokens=1)
        for sequence in ended:
            self.residence_us.add(now_us - sequence.started_us)
            self.end(sequence)

    def _account(self, plan: Plan, busy_us: int) -> None:
        """Apportion the step's time, learn from it, and keep background's share."""
        cost = self.cost
        each = cost.fixed / len(plan.rows)
        weights = [
            each
            + (cost.decode if s.decoding else cost.prefill * count)
            + (0 if cost.known else count)
            for s, _, count, _ in plan.rows
        ]
        parts = meter.shares(busy_us, weights)
        for row, part in zip(plan.rows, parts, strict=True):
            row.sequence.busy_us += part
        cost.observe(plan.decode, plan.prefill, busy_us)
        if not plan.upper:
            return
        below = [not _above(row.sequence) for row in plan.rows]
        spent = sum(part for part, low in zip(parts, below, strict=True) if low)
        top = min(row.sequence.class_ for row in plan.rows)
        if top < Class.BACKGROUND:
            share = self.knobs.weight_background / self.knobs.weight(top)
            self._credit_us += (busy_us - spent) * share
            marginal = [
                cost.decode if row.sequence.decoding else cost.prefill * row.tokens
                for row, low in zip(plan.rows, below, strict=True)
                if low
            ]
            self._credit_us -= min(float(spent), sum(marginal))
        else:
            self._credit_us -= busy_us
        self._credit_us = min(self._credit_us, CREDIT_MOST_US)


def _above(sequence: Sequence) -> bool:
    return sequence.class_ < Class.BACKGROUND


def _awaited(sequence: Sequence) -> bool:
    """Whether its first token is still to come."""
    return sequence.state is not State.ENDED and sequence.first_us < 0
