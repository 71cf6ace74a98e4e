"""Decides what each step computes: state and clock in, plan out.

Decode first, then at most `prefill_budget` prompt tokens. Interactive before batch: each waits with
priority weight x (age + 1 s), so that neither starves. Background comes after both, whatever its
age: it takes a slot that no higher class wants, gives it back when one does, and in steps shared
with others takes at most its weighted share of their measured time. Within a class tenants are
served by `fairness`. Adapters take turns, step by step. The queue is bounded, and what cannot start
in time is refused at once with the estimated wait.

Never touches a token, a socket or a clock. Imports the standard library only. Imported by the
worker.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from engine.serving import admission, step_cost
from engine.serving.admission import Refusal
from engine.serving.fairness import Queue
from engine.serving.knobs import Knobs
from engine.serving.sequences import Class, Sequence, State
from engine.serving.slots import Slots
from engine.serving.step_plan import Plan, StepFilling

SECOND_US: Final = 1_000_000
MAX_CREDIT_US: Final = 200_000.0
_STALE_DEADLINES: Final = 64


@dataclass(slots=True)
class AdapterState:
    """One adapter's context: its slots, what runs in them and what waits for them."""

    slots: Slots
    running: list[Sequence] = field(default_factory=list)
    queues: dict[Class, Queue] = field(default_factory=lambda: {c: Queue() for c in Class})
    stepped: int = 0

    @property
    def free(self) -> int:
        """How many more sequences may start; slots are assigned when a step is planned."""
        return self.slots.size - len(self.running)

    def has(self, *, background: bool) -> bool:
        """Whether background (or any class above it) runs or waits here."""
        if any(s.background == background for s in self.running):
            return True
        return any(
            queue.count
            for class_, queue in self.queues.items()
            if (class_ is Class.BACKGROUND) == background
        )


class Scheduler:
    """The sequences of one worker, on all its adapters."""

    def __init__(
        self,
        *,
        slots: int,
        sequence_tokens: int,
        room: int,
        knobs: Knobs,
        scored_outputs: int = 32,
    ) -> None:
        """`slots` per adapter, each of `sequence_tokens`; a step never exceeds `room` tokens.

        Nor does it give more than `scored_outputs` logits rows to sequences that are scored.
        """
        self.knobs = knobs
        self.cost = step_cost.Cost()
        self.residence_us = step_cost.Average()
        self.sequence_tokens = sequence_tokens
        self.room = room
        self.adapters: dict[str, AdapterState] = {}
        self.live: dict[int, Sequence] = {}
        self._slots = slots
        self._scored_outputs = scored_outputs
        self._deadlines: list[tuple[int, int, Sequence]] = []
        self._pushed = 0
        self._turns = 0
        self._credit_us = 0.0

    # state

    @property
    def running(self) -> int:
        """How many sequences hold a slot."""
        return sum(len(adapter.running) for adapter in self.adapters.values())

    @property
    def waiting(self) -> int:
        """How many sequences wait for a slot."""
        return sum(queue.count for queue in self._queues())

    def oldest_waiting_us(self, now_us: int) -> int:
        """How long the first in all queues has waited."""
        arrivals = [at for queue in self._queues() if (at := queue.oldest_us()) is not None]
        return max(0, now_us - min(arrivals)) if arrivals else 0

    def resident_tokens(self) -> int:
        """Tokens in the KV memory of all contexts."""
        return sum(s.resident for adapter in self.adapters.values() for s in adapter.running)

    def _queues(self) -> Iterator[Queue]:
        return (queue for adapter in self.adapters.values() for queue in adapter.queues.values())

    # arrivals and ends

    def add_adapter(self, adapter: str) -> None:
        """A context for this adapter exists now."""
        self.adapters[adapter] = AdapterState(Slots(self._slots))

    def remove_adapter(self, adapter: str) -> list[Sequence]:
        """The context is going away: end its sequences and return them."""
        ended = [s for s in self.live.values() if s.adapter == adapter]
        for sequence in ended:
            self.end(sequence)
        del self.adapters[adapter]
        return ended

    def submit(self, sequence: Sequence, now_us: int) -> tuple[Refusal, ...]:
        """Admit a sequence or refuse it; admitting it may displace others from the queue."""
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
        if len(self._deadlines) > 2 * len(self.live) + _STALE_DEADLINES:
            self._deadlines = [entry for entry in self._deadlines if _awaited(entry[2])]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (sequence.deadline_us, self._pushed, sequence))
        return tuple(refusals)

    def end(self, sequence: Sequence) -> None:
        """Free everything that a sequence holds; final."""
        adapter = self.adapters[sequence.adapter]
        if sequence.state is State.RUNNING:
            adapter.running.remove(sequence)
            adapter.slots.release(sequence)
        else:
            adapter.queues[sequence.class_].remove(sequence)
        sequence.move(State.ENDED)
        del self.live[sequence.id]

    def _park(self, sequence: Sequence) -> None:
        """Take a background sequence's slot; it keeps its tokens and is recomputed later."""
        adapter = self.adapters[sequence.adapter]
        adapter.running.remove(sequence)
        adapter.slots.release(sequence)
        sequence.move(State.PARKED)
        adapter.queues[sequence.class_].push(sequence, parked=True)

    def _expired(self, now_us: int) -> list[Refusal]:
        """End the sequences without a first token at their deadline."""
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
        """What the next step computes."""
        refusals = tuple(self._expired(now_us))
        foreground = any(a.has(background=False) for a in self.adapters.values())
        if not foreground:
            self._credit_us = 0.0
        for contended in (True, False) if foreground else (False,):
            for name in self._turns_now(contended=contended):
                plan = self._fill(name, now_us, contended=contended, refusals=refusals)
                if plan.rows:
                    return plan
        return Plan("", (), (), 0, 0, foreground, refusals)

    def _turns_now(self, *, contended: bool) -> list[str]:
        """The adapters that may step now, the one that stepped longest ago first."""
        names = [
            name
            for name, adapter in self.adapters.items()
            if adapter.has(background=False)
            or (adapter.has(background=True) and (not contended or self._credit_us > 0))
        ]
        return sorted(names, key=lambda name: self.adapters[name].stepped)

    def _fill(
        self, name: str, now_us: int, *, contended: bool, refusals: tuple[Refusal, ...]
    ) -> Plan:
        """Decode rows, then started prompts, then new ones; background's prompts come last."""
        adapter = self.adapters[name]
        step = StepFilling(
            self.cost,
            room=self.room,
            scored_outputs=self._scored_outputs,
            spare_us=self._credit_us if contended else float("inf"),
        )
        for sequence in adapter.running:
            if sequence.decoding and not sequence.background:
                step.decode(sequence)
        low = [s for s in adapter.running if s.decoding and s.background]
        for sequence in sorted(low, key=lambda s: s.slot):
            if not step.decode(sequence):
                break
        step.budget = min(self.knobs.prefill_budget, self.room - len(step.rows))
        for background in (False, True):
            begun = [s for s in adapter.running if s.background == background and not s.decoding]
            for sequence in sorted(begun, key=lambda s: (s.class_, s.started_us)):
                step.prefill(sequence)
            while step.budget > 0 and (not background or step.spare_us > self.cost.prefill):
                fresh = self._next(adapter, now_us)
                if fresh is None or fresh.background != background:
                    break
                self._start(adapter, fresh, now_us)
                step.prefill(fresh)
        adapter.slots.arrange(
            [s for s in adapter.running if not s.background],
            [s for s in adapter.running if s.background],
        )
        rows = [row for row in step.rows if row.sequence.state is State.RUNNING]  # less the parked
        rows.sort(key=lambda row: row.sequence.slot)
        decode = sum(row.sequence.decoding for row in rows)
        prefill = sum(row.tokens for row in rows) - decode
        moves = adapter.slots.take_moves() if rows else ()
        return Plan(name, moves, tuple(rows), decode, prefill, contended, refusals)

    def _next(self, adapter: AdapterState, now_us: int) -> Sequence | None:
        """The sequence of this adapter's queues that may start now; parks background for it."""
        free = self.knobs.max_running - self.running
        full = adapter.free <= 0 or free <= 0
        if full and not any(s.background for a in self.adapters.values() for s in a.running):
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
        """Park background sequences, as few as suffice, for one of a higher class.

        More than one when `max_running` was lowered below what runs.
        """
        if sequence.background:
            return False
        full = adapter.free <= 0
        victims = [s for a in self.adapters.values() for s in a.running if s.background]
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
            queue.charge(sequence.tenant, prompt_tokens=sequence.prompt_tokens)
            sequence.started_us = now_us
        sequence.move(State.RUNNING)
        adapter.running.append(sequence)

    def settle(self, plan: Plan, ended: Collection[Sequence], busy_us: int, now_us: int) -> None:
        """Account for a computed step, in which the `ended` sequences were completed."""
        adapter = self.adapters[plan.adapter]
        self._turns += 1
        adapter.stepped = self._turns
        self._account(plan, busy_us)
        for sequence, _, count, outputs in plan.rows:
            sequence.resident += count
            if not outputs:
                continue
            if sequence.first_us < 0:
                sequence.first_us = now_us
            if sequence.scored:
                continue
            sequence.completion_tokens += 1
            adapter.queues[sequence.class_].charge(sequence.tenant, completion_tokens=1)
        for sequence in ended:
            self.residence_us.add(now_us - sequence.started_us)
            self.end(sequence)

    def _account(self, plan: Plan, busy_us: int) -> None:
        """Apportion the step's time, learn from it, and update background's credit."""
        cost = self.cost
        each = cost.fixed / len(plan.rows)
        weights = [
            each
            + (cost.decode if s.decoding else cost.prefill * count)
            + (0 if cost.known else count)
            for s, _, count, _ in plan.rows
        ]
        parts = step_cost.shares(busy_us, weights)
        for row, part in zip(plan.rows, parts, strict=True):
            row.sequence.busy_us += part
        cost.observe(plan.decode, plan.prefill, busy_us)
        if not plan.contended:
            return
        below = [row.sequence.background for row in plan.rows]
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
        self._credit_us = min(self._credit_us, MAX_CREDIT_US)


def _awaited(sequence: Sequence) -> bool:
    """Whether it has no first token yet."""
    return sequence.state is not State.ENDED and sequence.first_us < 0
