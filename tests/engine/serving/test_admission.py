"""Which requests are admitted, which are refused, and with which wait."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving.knobs import Knobs
from engine.serving.sequences import Class, Sequence, State
from tests.engine.serving.simulator import SECOND_US, SEQUENCE_TOKENS, Arrival, Box


def code(box: Box, sequence: Sequence) -> str:
    """Why it was refused, or nothing."""
    refusal = box.refusals.get(sequence.id)
    return refusal.code if refusal else ""


def full_box(**knobs: int) -> Box:
    """One slot that is taken for long, and a queue."""
    box = Box(slots=1, knobs=Knobs(max_running=1).changed(knobs))
    box.submit(Arrival(wants=50, tenant="running"))
    box.steps(3)
    return box


@pytest.mark.parametrize(
    ("arrival", "expected"),
    [
        (Arrival(prompt=0), "empty"),
        (Arrival(prompt=SEQUENCE_TOKENS), "too_long"),
        (Arrival(prompt=SEQUENCE_TOKENS - 1), ""),
        (Arrival(adapter="closed"), "no_adapter"),
    ],
)
def test_what_could_never_be_served_is_refused(arrival: Arrival, expected: str) -> None:
    """Without a retry time: waiting does not help."""
    box = Box()
    sequence = box.submit(arrival)
    assert code(box, sequence) == expected
    assert [r.retry_after_us for r in box.refusals.values()] == ([0] if expected else [])


@given(st.integers(1, SEQUENCE_TOKENS - 1), st.integers(1, 200), st.integers(1, 200))
def test_an_answer_is_limited_by_the_context_and_by_the_cap(
    prompt: int, limit: int, cap: int
) -> None:
    """So that what is admitted always fits to its end."""
    box = Box(knobs=Knobs(max_tokens_cap=cap))
    sequence = box.submit(Arrival(prompt=prompt, limit=limit))
    assert sequence.max_tokens == min(limit, cap, SEQUENCE_TOKENS - prompt)


def test_over_the_limit_of_requests_the_queue_refuses_with_the_wait_that_would_have_been() -> None:
    """The client learns when to come again; one who asked before is not pushed out for it."""
    box = full_box(queue_limit=2)
    waiting = box.flood(2, Arrival())
    refused = box.submit(Arrival())
    assert code(box, refused) == "queue_full"
    assert box.refusals[refused.id].retry_after_us > 0
    assert [s.state for s in waiting] == [State.WAITING] * 2


def test_over_the_limit_of_prompt_tokens_the_queue_refuses() -> None:
    """A few long prompts fill it as many short ones do; a short one may still fit."""
    box = full_box(queue_tokens_limit=100)
    box.flood(2, Arrival(prompt=40))
    assert code(box, box.submit(Arrival(prompt=21))) == "queue_full"
    assert code(box, box.submit(Arrival(prompt=20))) == ""


def test_a_free_slot_is_no_queue() -> None:
    """With a queue limit of 0, what can start immediately is admitted."""
    box = Box(slots=2, knobs=Knobs(max_running=2, queue_limit=0, queue_tokens_limit=0))
    assert [code(box, s) for s in box.flood(3, Arrival())] == ["", "", "queue_full"]


def test_a_slot_that_background_holds_is_free_for_others() -> None:
    """No queue, all slots taken by background: an interactive request is let in and starts."""
    box = Box(slots=2, knobs=Knobs(max_running=2, queue_limit=0))
    box.flood(2, Arrival(class_=Class.BACKGROUND, wants=50))
    box.step()
    above = box.submit(Arrival())
    box.step()
    assert (code(box, above), above.state) == ("", State.RUNNING)
    assert code(box, box.submit(Arrival(class_=Class.BACKGROUND))) == "queue_full"


@pytest.mark.parametrize("prompt", [4, 8, 40])
def test_a_higher_class_takes_the_place_of_a_lower_one(prompt: int) -> None:
    """The newest of it, whatever their lengths: small background requests block none."""
    box = full_box(queue_limit=3)
    background = box.flood(3, Arrival(class_=Class.BACKGROUND, prompt=8))
    above = box.submit(Arrival(prompt=prompt))
    assert above.state is State.WAITING
    assert [code(box, s) for s in background] == ["", "", "queue_full"]
    assert code(box, box.submit(Arrival(class_=Class.BACKGROUND))) == "queue_full"


def test_a_long_prompt_takes_the_places_of_as_many_as_it_needs() -> None:
    """By tokens, the newest first; if even all of them were not enough, none is displaced."""
    box = full_box(queue_tokens_limit=40)
    background = box.flood(4, Arrival(class_=Class.BACKGROUND, prompt=10))
    assert code(box, box.submit(Arrival(prompt=41))) == "queue_full"
    assert [s.state for s in background] == [State.WAITING] * 4
    assert code(box, box.submit(Arrival(prompt=25))) == ""
    assert [code(box, s) for s in background] == ["", *["queue_full"] * 3]


def test_a_tenant_that_fills_the_queue_makes_room_for_another() -> None:
    """Until both hold alike; within its own tenant none is displaced."""
    box = full_box(queue_limit=4)
    greedy = box.flood(4, Arrival(tenant="greedy"))
    assert code(box, box.submit(Arrival(tenant="greedy"))) == "queue_full"
    modest = box.flood(3, Arrival(tenant="modest"))
    assert [code(box, s) for s in modest] == ["", "", "queue_full"]
    assert [code(box, s) for s in greedy] == ["", "", "queue_full", "queue_full"]


classes = st.sampled_from(Class)


@settings(deadline=None)
@given(
    st.integers(0, 12),
    st.integers(0, 300),
    st.lists(
        st.builds(
            Arrival,
            class_=classes,
            tenant=st.sampled_from("ab"),
            prompt=st.integers(1, 60),
            wants=st.integers(1, 20),
        ),
        max_size=60,
    ),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_the_queue_never_holds_more_than_it_may(
    limit: int, tokens: int, coming: list[Arrival], steps: list[bool]
) -> None:
    """By number and by prompt tokens, beyond what free slots and background's slots can take."""
    slots = 2
    box = Box(
        slots=slots,
        knobs=Knobs(max_running=slots, queue_limit=limit, queue_tokens_limit=tokens),
    )
    for arrival, also_step in zip(coming, steps, strict=False):
        box.submit(arrival)
        adapter = box.scheduler.adapters[""]
        queues = (adapter.above, adapter.below)
        fresh = sum(queue.fresh for queue in queues)
        assert fresh <= limit + slots
        assert fresh <= slots or sum(queue.tokens for queue in queues) <= tokens + slots * 60
        if also_step:
            box.step()


def test_what_cannot_start_in_time_is_refused_at_once() -> None:
    """Judged by the measured rate, with the wait that would have been; a patient one is let in."""
    box = Box(slots=1, knobs=Knobs(max_running=1, prefill_budget=64))
    box.flood(12, Arrival(wants=20))
    while len(box.finished) < 9:
        box.step()
    hasty = box.submit(Arrival(patience_us=5_000))
    assert code(box, hasty) == "deadline"
    assert box.refusals[hasty.id].retry_after_us > 5_000
    assert code(box, box.submit(Arrival(patience_us=SECOND_US))) == ""


@pytest.mark.parametrize(("reuse", "expected"), [(1, ""), (0, "deadline")])
def test_what_is_in_memory_of_a_prompt_takes_no_time(reuse: int, expected: str) -> None:
    """Without the cache the whole prompt counts; a prompt that nobody had counts in both cases."""
    knobs = Knobs(max_running=2, prefill_budget=64, prefix_cache=reuse)
    box = Box(slots=4, knobs=knobs, sequence_tokens=1024)
    prompt = tuple(range(900))
    box.flood(4, Arrival(wants=8))
    first = box.submit(Arrival(tokens=prompt, wants=2))
    while first.id not in box.finished:
        box.step()
    running = box.submit(Arrival(wants=90))
    while running.first_us < 0:
        box.step()
    patience_us = int(450 * (box.scheduler.rates.prompt_us or 0))
    assert patience_us > 0
    other = tuple(range(1000, 1900))
    assert code(box, box.submit(Arrival(tokens=other, patience_us=patience_us))) == "deadline"
    again = box.submit(Arrival(tokens=(*prompt, 1), patience_us=patience_us))
    assert code(box, again) == expected
    while again.state is not State.ENDED:
        box.step()
    assert (again.cached, box.refusals.get(again.id) is None) == (
        (900, True) if reuse else (-1, False)
    )


def test_before_anything_was_measured_nothing_is_refused_for_time() -> None:
    """A worker that has just started has no rates to judge by."""
    box = Box(slots=1)
    assert [code(box, s) for s in box.flood(9, Arrival(patience_us=1))] == [""] * 9


def test_a_rate_that_was_measured_badly_is_put_right_by_trying() -> None:
    """A machine that slept for a minute in a step would else refuse everything for ever."""
    box = Box(slots=1, knobs=Knobs(max_running=1))
    for took in (60 * SECOND_US, *[1_000] * 10):
        box.scheduler.cost.observe(1, 1, took)
        box.scheduler.rates.step((took // 2, 1), (took // 2, 1))
    assert box.scheduler.cost.known
    assert (box.scheduler.rates.prompt_us or 0) > SECOND_US
    tried = box.submit(Arrival(patience_us=SECOND_US))
    assert code(box, tried) == ""
    assert code(box, box.submit(Arrival(patience_us=SECOND_US))) == "deadline"
    box.replay([], {})
    assert tried.id in box.finished


def test_the_estimated_wait_is_about_the_wait() -> None:
    """A refused client is given neither a second for a minute nor a minute for a second."""
    box = Box(slots=2, knobs=Knobs(max_running=2, prefill_budget=64))
    box.flood(40, Arrival(wants=20))
    while len(box.finished) < 10:
        box.step()
    refused = box.submit(Arrival(patience_us=1))
    told = box.refusals[refused.id].retry_after_us
    patient = box.submit(Arrival())
    while patient.first_us < 0:
        box.step()
    waited = patient.first_us - patient.arrived_us
    assert waited / 2 < told < waited * 2
