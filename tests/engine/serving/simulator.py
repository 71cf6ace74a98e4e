"""A worker without a model: the scheduler, a simulated clock, and a KV memory that checks its use.

Every step is checked: what the plan may hold, and that each row finds in its slot exactly the
tokens that the scheduler expects there.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from engine.serving.admission import Refusal
from engine.serving.knobs import Knobs
from engine.serving.scheduler import Scheduler
from engine.serving.sequences import Class, Sequence, State
from engine.serving.step_plan import Plan, Row

SECOND_US = 1_000_000
FIXED_US, DECODE_US, PREFILL_US = 1000, 300, 50
SEQUENCE_TOKENS = 64


@dataclass(frozen=True)
class Arrival:
    """A request to come: `wants` tokens unless its limit ends it before.

    Or a scoring, of the last `scored` tokens of its prompt. Its prompt are `tokens`, or `prompt`
    tokens that no other one has.
    """

    at_us: int = 0
    class_: Class = Class.INTERACTIVE
    tenant: str = "t"
    prompt: int = 8
    wants: int = 4
    limit: int = 100
    patience_us: int = 3600 * SECOND_US
    adapter: str = ""
    cancelled_us: int | None = None
    scored: int = 0
    tokens: tuple[int, ...] = ()
    scope: str = ""


@dataclass(frozen=True)
class Client:
    """Asks the like of `asks` from `from_us` on, and again `pause_us` after each answer.

    How long its answers are is drawn from `wants`.
    """

    asks: Arrival
    wants: tuple[int, ...]
    pause_us: int = 0
    from_us: int = 0


class Latency(NamedTuple):
    """From asking to the first token, and to the last; microseconds."""

    first_us: int
    whole_us: int


def passes(plan: Plan, most: int = 512) -> int:
    """How often libllama passes over the weights for a step, without a unified memory.

    A pass takes consecutive sequences, the same number of tokens of each (`split_equal` of
    llama-batch.cpp).
    """
    left = [[row.sequence.slot, row.tokens] for row in plan.rows]
    count = 0
    while left:
        taken = [left[0]]
        for each in left[1:]:
            if each[0] != taken[-1][0] + 1 or len(taken) == most:
                break
            taken.append(each)
        tokens = max(1, min(*(each[1] for each in taken), most // len(taken), most))
        for each in taken:
            each[1] -= tokens
        left = [each for each in left if each[1] > 0]
        count += 1
    return count


@dataclass(eq=False)
class Box:
    """One worker's scheduler and its history.

    With `splits` the first of `costs_us` is that of each pass over the weights. `gaps_us` are the
    times between the tokens of a sequence.
    """

    slots: int = 4
    adapters: tuple[str, ...] = ("",)
    knobs: Knobs = field(default_factory=lambda: Knobs(max_running=4, prefill_budget=16))
    room: int = 8196
    scored_outputs: int = 3
    sequence_tokens: int = SEQUENCE_TOKENS
    cuts: bool = True
    adapts: bool = False
    splits: bool = False
    costs_us: tuple[int, int, int] = (FIXED_US, DECODE_US, PREFILL_US)
    watch: Callable[[Box, Plan], None] = lambda _box, _plan: None

    def __post_init__(self) -> None:
        """Open the adapters, all slots empty; unless it `adapts`, prompts have a fixed budget."""
        self.knobs = self.knobs if self.adapts else replace(self.knobs, prefill_ms=0)
        self.scheduler = Scheduler(
            slots=self.slots,
            sequence_tokens=self.sequence_tokens,
            room=self.room,
            knobs=self.knobs,
            scored_outputs=self.scored_outputs,
            cuts=self.cuts,
        )
        for adapter in self.adapters:
            self.scheduler.add_adapter(adapter)
        self.memory = {a: [list[int]() for _ in range(self.slots)] for a in self.adapters}
        self.computed = 0
        self.now_us = 0
        self.idle_us = 0
        self.ids = itertools.count(1)
        self.asked: dict[int, Arrival] = {}
        self.known: dict[int, Sequence] = {}
        self.refusals: dict[int, Refusal] = {}
        self.finished: list[int] = []
        self.ended_us: dict[int, int] = {}
        self.cancelled: list[int] = []
        self.scored: dict[int, set[int]] = defaultdict(set)
        self.served: Counter[tuple[str, Class]] = Counter()
        self.gaps_us: list[int] = []
        self.told_us: dict[int, int] = {}
        self._over: list[int] = []

    def submit(self, arrival: Arrival, *, request: int = 0) -> Sequence:
        """Submit a request, or one more answer to the request of that number; note a refusal."""
        id = next(self.ids)
        tokens = list(arrival.tokens) or [-id * 1000 - place for place in range(arrival.prompt)]
        sequence = Sequence(
            id=id,
            adapter=arrival.adapter,
            class_=arrival.class_,
            tenant=arrival.tenant,
            prompt_tokens=len(tokens),
            max_tokens=arrival.limit,
            scored=min(arrival.scored, len(tokens)),
            arrived_us=self.now_us,
            deadline_us=self.now_us + arrival.patience_us,
            request=request,
            tokens=tokens,
            scope=arrival.scope,
        )
        self.asked[sequence.id] = arrival
        self.known[sequence.id] = sequence
        self._refused(self.scheduler.submit(sequence, self.now_us))
        return sequence

    def flood(self, count: int, arrival: Arrival) -> list[Sequence]:
        """Submit the same request many times."""
        return [self.submit(arrival) for _ in range(count)]

    def cancel(self, sequence: Sequence) -> None:
        """Cancel a sequence."""
        self.scheduler.end(sequence)
        self.cancelled.append(sequence.id)

    def step(self) -> Plan:
        """Plan, check, compute, settle; the clock advances by the cost of the step."""
        before = self.scheduler.running
        plan = self.scheduler.plan(self.now_us)
        self._refused(plan.refusals)
        assert self.scheduler.running + self.scheduler.waiting == len(self.scheduler.live)
        if not plan.rows:
            assert not self.scheduler.live, "there is work, and the plan is empty"
            return plan
        self._check(plan, before)
        self.watch(self, plan)
        fixed, decode, prefill = self.costs_us
        fixed *= passes(plan) if self.splits else 1
        took = fixed + decode * plan.decode + prefill * plan.prefill
        self.now_us += took
        ended = [row.sequence for row in plan.rows if row.outputs and self._ends(row)]
        for sequence in (row.sequence for row in plan.rows if row.outputs):
            if sequence.id in self.told_us:
                self.gaps_us.append(self.now_us - self.told_us[sequence.id])
            self.told_us[sequence.id] = self.now_us
        for row in plan.rows:
            self.served[row.sequence.tenant, row.sequence.class_] += row.tokens
        self.scheduler.settle(plan, ended, took, self.now_us)
        self.finished += [sequence.id for sequence in ended]
        self._over += [sequence.id for sequence in ended]
        self.ended_us |= {sequence.id: self.now_us for sequence in ended}
        return plan

    def steps(self, count: int) -> list[Plan]:
        """Several steps."""
        return [self.step() for _ in range(count)]

    def replay(self, arrivals: Iterable[Arrival], knobs: dict[int, dict[str, int]]) -> None:
        """Submit each arrival at its time; `knobs` are set before the step of that number."""
        due = sorted(arrivals, key=lambda arrival: arrival.at_us)
        due.reverse()
        number = 0
        while due or self.scheduler.live:
            if not self.scheduler.live and due[-1].at_us > self.now_us:
                self.idle_us += due[-1].at_us - self.now_us
                self.now_us = due[-1].at_us
            while due and due[-1].at_us <= self.now_us:
                self.submit(due.pop())
            for sequence in list(self.scheduler.live.values()):
                at = self.asked[sequence.id].cancelled_us
                if at is not None and at <= self.now_us:
                    self.cancel(sequence)
            self.scheduler.knobs = self.scheduler.knobs.changed(knobs.get(number, {}))
            self.step()
            number += 1

    def besiege(
        self, flood: Many[Arrival], victim: Arrival, *, every_us: int, times: int, burst: int = 1
    ) -> list[Latency]:
        """Clients that ask again as soon as they are answered, and one that asks now and then.

        It asks `burst` times at once.

        Returns the latencies of the latter, from when it asked, in the middle of a step or not. It
        has asked before there were others, so that costs are known.
        """
        self.flood(3, victim)
        while self.scheduler.live:
            self.step()
        clients = {self.submit(each).id: each for each in flood}
        jitter = random.Random(times)
        asks: dict[int, int] = {}
        for number in range(times):
            at = SECOND_US // 2 + number * every_us + jitter.randrange(every_us)
            while self.now_us < at:
                if not self.scheduler.live:
                    self.now_us = at
                    break
                self.step()
                self._ask_again(clients)
            asks |= {sequence.id: at for sequence in self.flood(burst, victim)}
        while any(self.known[id].state is not State.ENDED for id in asks):
            self.step()
            self._ask_again(clients)
        return [
            Latency(self.known[id].first_us - at, self.ended_us[id] - at) for id, at in asks.items()
        ]

    def over(self) -> list[int]:
        """The sequences that have ended, or were refused, since the last call."""
        over, self._over = self._over, []
        return over

    def _ask_again(self, clients: dict[int, Arrival]) -> None:
        for id in self.over():
            arrival = clients.pop(id, None)
            if arrival is not None:
                clients[self.submit(arrival).id] = arrival

    def attend(self, clients: Many[Client], until_us: int) -> dict[Client, list[Latency]]:
        """Closed loops for so long; the latencies of each client, from when it asked."""
        chance = random.Random(until_us)
        due = [(each.from_us + chance.randrange(1000), n) for n, each in enumerate(clients)]
        heapq.heapify(due)
        asked: dict[int, tuple[int, int]] = {}
        latencies: dict[Client, list[Latency]] = defaultdict(list)
        while self.now_us < until_us:
            while due and due[0][0] <= self.now_us:
                at, number = heapq.heappop(due)
                client = clients[number]
                arrival = replace(client.asks, wants=chance.choice(client.wants))
                asked[self.submit(arrival).id] = (number, at)
            if self.scheduler.live:
                self.step()
            else:
                self.now_us = due[0][0]
            for id in self.over():
                number, at = asked.pop(id)
                client, sequence = clients[number], self.known[id]
                latencies[client].append(Latency(sequence.first_us - at, self.now_us - at))
                heapq.heappush(due, (self.now_us + client.pause_us + chance.randrange(500), number))
        return latencies

    def _ends(self, row: Row) -> bool:
        """Whether a sequence has all it wants after this row."""
        sequence = row.sequence
        if sequence.scored:
            end = row.start + row.tokens
            self.scored[sequence.id] |= set(range(end - row.outputs, end))
            return end == sequence.prompt_tokens
        wants = min(self.asked[sequence.id].wants, sequence.max_tokens)
        return sequence.completion_tokens + 1 >= wants

    def _refused(self, refusals: Iterable[Refusal]) -> None:
        for refusal in refusals:
            self.refusals[refusal.sequence.id] = refusal
            self._over.append(refusal.sequence.id)

    def _check(self, plan: Plan, running_before: int) -> None:
        """The invariants of every plan."""
        scheduler, adapter = self.scheduler, self.scheduler.adapters[plan.adapter]
        assert self.adapts or plan.prefill <= scheduler.knobs.prefill_budget
        assert plan.decode + plan.prefill <= self.room
        assert scheduler.running <= max(scheduler.knobs.max_running, running_before)
        assert len(adapter.running) <= self.slots
        stepped = [row.sequence.id for row in plan.rows]
        decoding = [row for row in plan.rows if row.sequence.decoding]
        assert len(decoding) == plan.decode
        first = {s for s in adapter.running if s.decoding and s.class_ < Class.BACKGROUND}
        left_out = {s.tenant for s in first - {row.sequence for row in decoding}}
        places = scheduler.knobs.max_running
        assert plan.tenant not in left_out, "decode goes first"
        ahead = scheduler.above.of(plan.tenant).lead_us > 0
        assert ahead or all(scheduler.above.of(tenant).asked > places for tenant in left_out)
        assert len(set(stepped)) == len(stepped)
        self._compute(plan)

    def _compute(self, plan: Plan) -> None:
        """The step as the KV memory sees it; a token follows from all that are in memory."""
        memory = self.memory[plan.adapter]
        for source, target, tokens, keeps in plan.moves:
            if source < 0:
                memory[target] = []
                continue
            if source != target:
                assert not memory[target], "a slot that is moved to was not empty"
                memory[target] = memory[source].copy()
                memory[source] = memory[source] if keeps else []
            if tokens >= 0:
                assert self.cuts or tokens >= len(memory[target]), "this memory cannot be cut"
                assert tokens <= len(memory[target]), "so much was not in memory"
                del memory[target][tokens:]
        scored = sum(row.outputs for row in plan.rows if row.sequence.scored)
        assert scored <= self.scored_outputs
        for sequence, start, count, outputs in plan.rows:
            assert sequence.slot >= 0
            held = memory[sequence.slot]
            assert held == list(sequence.tokens[:start]), "the memory of another sequence"
            assert count > 0
            known = sequence.prompt_tokens + sequence.completion_tokens
            assert known == len(sequence.tokens)
            if not sequence.scored:
                assert outputs == (start + count == known)
            assert start + count < self.sequence_tokens + bool(sequence.scored)
            held += sequence.tokens[start : start + count]
            self.computed += count
            if outputs and not sequence.scored:
                assert isinstance(sequence.tokens, list)
                sequence.tokens.append(hash((len(plan.adapter), *held)) % 50)
