"""Tenants share: by what they were served, not by how much they ask."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving.fairness import COMPLETION_WEIGHT, PROMPT_WEIGHT, Queue
from engine.serving.knobs import Knobs
from engine.serving.sequences import Class, Sequence
from tests.engine.serving.simulator import Arrival, Box

SLOTS, PROMPT_MOST, WANTS_MOST = 4, 24, 24


def waiting(id: int, tenant: str = "a", *, prompt: int = 1, arrived_us: int = 0) -> Sequence:
    """One to push."""
    return Sequence(id, "", Class.INTERACTIVE, tenant, prompt, 1, arrived_us, 0)


sizes = st.tuples(st.integers(1, PROMPT_MOST), st.integers(1, WANTS_MOST))


@settings(max_examples=30, deadline=None)
@given(st.lists(sizes, min_size=1, max_size=6), st.lists(sizes, min_size=1, max_size=6))
def test_two_tenants_that_always_ask_are_served_alike(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    """Whatever their prompts and answers are like, the gap stays bounded, however long it lasts.

    The bound is that of the paper: twice what one full set of slots can be charged.
    """
    kinds = {"a": itertools.cycle(one), "b": itertools.cycle(other)}
    bound = 2 * max(PROMPT_WEIGHT * PROMPT_MOST, COMPLETION_WEIGHT * SLOTS * WANTS_MOST)
    box = Box(slots=SLOTS, knobs=Knobs(max_running=SLOTS, prefill_budget=32))
    queue = box.scheduler.adapters[""].queues[Class.INTERACTIVE]
    for _ in range(200):
        for tenant, kind in kinds.items():
            waits = [s for s in box.scheduler.live.values() if s.tenant == tenant and s.slot < 0]
            for _ in range(2 - len(waits)):
                prompt, wants = next(kind)
                box.submit(Arrival(tenant=tenant, prompt=prompt, wants=wants))
        box.step()
        assert abs(queue.served("a") - queue.served("b")) <= bound


def test_a_flood_does_not_delay_a_newcomer() -> None:
    """With a hundred of another tenant's before it, it takes the next slot that is free."""
    box = Box(slots=2, knobs=Knobs(max_running=2, prefill_budget=64))
    flood = box.flood(100, Arrival(tenant="flood", wants=8))
    box.steps(4)
    newcomer = box.submit(Arrival(tenant="newcomer"))
    while newcomer.started_us < 0:
        box.step()
    assert sum(s.started_us >= 0 for s in flood) <= 3


def test_idling_earns_nothing() -> None:
    """A tenant that comes back is lifted to the others and does not take all slots."""
    queue = Queue()
    queue.push(waiting(1, "busy"))
    queue.charge("busy", prompt_tokens=5000)
    queue.push(waiting(2, "back"))
    assert queue.served("back") == queue.served("busy") == 5000


def test_a_tenant_that_finds_the_queue_empty_is_lifted_to_the_last_one() -> None:
    """So that a pause of all tenants resets no counter."""
    queue = Queue()
    last = waiting(1, "busy")
    queue.push(last)
    queue.charge("busy", completion_tokens=100)
    queue.remove(last)
    queue.push(waiting(2, "fresh"))
    assert queue.served("fresh") == 100 * COMPLETION_WEIGHT


def test_within_a_tenant_the_first_to_come_is_the_first_to_go() -> None:
    """But what was parked before what is new: it has waited longer already."""
    queue = Queue()
    parked, *fresh = (waiting(id, arrived_us=id) for id in range(4))
    for sequence in fresh:
        queue.push(sequence)
    queue.push(parked, parked=True)
    order = []
    while (head := queue.peek()) is not None:
        order.append(head)
        queue.remove(head)
    assert order == [parked, *fresh]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 50), st.integers(0, 9), st.booleans()),
        max_size=40,
    )
)
def test_the_counts_of_a_queue_are_those_of_what_is_in_it(
    pushes: list[tuple[str, int, int, bool]],
) -> None:
    """Pushed, parked, removed from anywhere: count, fresh, tokens and oldest stay right."""
    queue, inside = Queue(), dict[int, tuple[Sequence, bool]]()
    for id, (tenant, prompt, remove, parked) in enumerate(pushes):
        sequence = waiting(id, tenant, prompt=prompt, arrived_us=id)
        queue.push(sequence, parked=parked)
        inside[id] = (sequence, parked)
        if remove in inside:
            queue.remove(inside.pop(remove)[0])
        fresh = [s for s, was_parked in inside.values() if not was_parked]
        assert queue.count == len(inside)
        assert queue.fresh == len(fresh)
        assert queue.tokens == sum(s.prompt_tokens for s in fresh)
        assert (queue.peek() is None) == (not inside)
        assert (queue.oldest_us() is None) == (not inside)


@given(st.lists(st.sampled_from("aaab"), max_size=20), st.sampled_from(["a", "b", "c"]))
def test_a_newcomer_displaces_only_who_holds_more(tenants: list[str], newcomer: str) -> None:
    """Down to one more than its tenant would hold itself; the newest go first."""
    queue = Queue()
    for id, tenant in enumerate(tenants):
        queue.push(waiting(id, tenant))
    gone = list(queue.displaceable(newcomer))
    left = [t for t in tenants if t != newcomer]
    own = tenants.count(newcomer)
    assert {s.tenant for s in gone} == {t for t in left if tenants.count(t) >= own + 2}
    for tenant in set(left):
        taken = [s.id for s in gone if s.tenant == tenant]
        assert len(taken) == max(tenants.count(tenant) - own - 1, 0)
        ids = [id for id, each in enumerate(tenants) if each == tenant]
        assert taken == sorted(ids, reverse=True)[: len(taken)]
    assert len(list(queue.displaceable(None))) == len(tenants)
