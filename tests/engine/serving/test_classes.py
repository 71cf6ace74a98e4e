"""Interactive before batch before background, without starvation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving.knobs import Knobs
from engine.serving.sequences import Class, Sequence, State
from engine.serving.step_plan import Plan
from tests.engine.serving.simulator import DECODE_US, PREFILL_US, SECOND_US, Arrival, Box

BACKGROUND = Arrival(class_=Class.BACKGROUND, wants=40)
BATCH = Arrival(class_=Class.BATCH, wants=40)


def states(sequences: list[Sequence]) -> list[State]:
    """Their places in the queue."""
    return [sequence.state for sequence in sequences]


def test_at_the_same_moment_the_higher_class_goes_first() -> None:
    """Whatever the order of arrival."""
    box = Box(slots=1, knobs=Knobs(max_running=1))
    for class_ in reversed(Class):
        box.submit(Arrival(class_=class_, wants=1))
    order = [box.step().rows[0].sequence.class_ for _ in Class]
    assert order == list(Class)


@pytest.mark.parametrize("class_", [Class.INTERACTIVE, Class.BATCH])
@pytest.mark.parametrize("age_s", [0, 600])
def test_background_gives_its_slot_back_at_the_next_step(class_: Class, age_s: int) -> None:
    """However long other background work has waited; what was parked is computed anew later."""
    box = Box(slots=2, knobs=Knobs(max_running=2, prefill_budget=64))
    background = box.flood(6, BACKGROUND)
    box.step()
    box.now_us += age_s * SECOND_US
    above = box.submit(Arrival(class_=class_, wants=1))
    plan = box.step()
    assert above in [row.sequence for row in plan.rows]
    assert sorted(states(background[:2]), key=str) == [State.PARKED, State.RUNNING]
    box.replay([], {})
    assert [s.completion_tokens for s in background] == [40] * 6


@pytest.mark.parametrize("parks", [1, 5])
def test_background_yields_every_time(parks: int) -> None:
    """It was parked often before: that gives it no right to stay."""
    box = Box(slots=1, knobs=Knobs(max_running=1, prefill_budget=64))
    low = box.submit(BACKGROUND)
    for _ in range(parks):
        box.step()
        assert states([low]) == [State.RUNNING]
        above = box.submit(Arrival(wants=1))
        assert [row.sequence for row in box.step().rows] == [above]
        assert states([low]) == [State.PARKED]
    box.replay([], {})
    assert low.completion_tokens == 40


def test_background_yields_the_slots_that_a_lowered_limit_takes_away() -> None:
    """As many of them are parked as a higher class needs."""
    box = Box(slots=4, knobs=Knobs(max_running=4, prefill_budget=64))
    background = box.flood(4, BACKGROUND)
    box.step()
    box.scheduler.knobs = box.scheduler.knobs.changed({"max_running": 2})
    above = box.submit(Arrival(wants=9))
    box.step()
    assert above.state is State.RUNNING
    assert states(background).count(State.PARKED) == 3
    assert box.scheduler.running == 2


def test_in_another_adapter_background_yields_when_the_running_limit_is_reached() -> None:
    """The limit counts all adapters."""
    box = Box(adapters=("", "lora"), knobs=Knobs(max_running=4, prefill_budget=64))
    background = box.flood(4, BACKGROUND)
    box.step()
    above = box.submit(Arrival(adapter="lora", wants=9))
    box.step()
    assert above.state is State.RUNNING
    assert states(background).count(State.PARKED) == 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            Arrival,
            at_us=st.integers(0, 100_000),
            class_=st.sampled_from(Class),
            prompt=st.integers(1, 40),
            wants=st.integers(1, 20),
        ),
        max_size=40,
    )
)
def test_no_background_starts_while_another_class_waits(coming: list[Arrival]) -> None:
    """It takes a slot that no higher class wants."""

    def watch(box: Box, plan: Plan) -> None:
        adapter = box.scheduler.adapters[plan.adapter]
        started = [row.sequence for row in plan.rows if row.start == 0]
        if any(s.class_ is Class.BACKGROUND for s in started):
            assert not adapter.above.count

    Box(slots=3, knobs=Knobs(max_running=3, prefill_budget=16), watch=watch).replay(coming, {})


def test_beside_others_background_takes_its_share_of_the_time_and_no_more() -> None:
    """By the weights: 10 to 100 is a tenth, saved up for at most a fifth of a second."""
    box = Box(slots=4, knobs=Knobs(max_running=4, prefill_budget=64, queue_limit=10_000))
    for lane_filler in range(3):
        box.submit(Arrival(tenant=str(lane_filler), prompt=1, wants=63))
    box.flood(300, Arrival(class_=Class.BACKGROUND, prompt=30, wants=30))
    steps = 0
    while steps < 2000:
        plan = box.step()
        steps += 1
        for row in plan.rows:
            if row.sequence.class_ is Class.INTERACTIVE and row.sequence.state is State.ENDED:
                box.submit(Arrival(tenant=row.sequence.tenant, prompt=1, wants=63))
    low = [s for s in box.known.values() if s.class_ is Class.BACKGROUND]
    spent = sum(
        DECODE_US * s.completion_tokens + PREFILL_US * s.prompt_tokens
        for s in low
        if s.completion_tokens
    )
    assert 0 < spent <= 0.1 * box.now_us + 200_000
    assert sum(s.completion_tokens for s in low) > 100


def test_alone_background_takes_all_there_is() -> None:
    """Every slot, every step, the whole budget."""
    box = Box(slots=4, knobs=Knobs(max_running=4, prefill_budget=64))
    box.flood(8, BACKGROUND)
    assert box.step().prefill == 32
    assert [plan.decode for plan in box.steps(5)] == [4] * 5


def test_background_prompts_wait_for_the_prompts_of_others() -> None:
    """Half-read background does not eat the budget of a step that a newcomer needs."""
    box = Box(slots=2, knobs=Knobs(max_running=2, prefill_budget=16))
    box.submit(Arrival(class_=Class.BACKGROUND, prompt=60))
    box.step()
    above = box.submit(Arrival(prompt=16))
    plan = box.step()
    assert [(row.sequence, row.tokens) for row in plan.rows] == [(above, 16)]


def test_a_flood_of_interactive_requests_does_not_starve_batch() -> None:
    """What waits gains on what arrives: weight 30 overtakes 100 within seconds of waiting."""
    box = Box(slots=1, knobs=Knobs(max_running=1))
    batch = box.submit(BATCH)
    while batch.state is State.WAITING:
        if box.scheduler.waiting < 4:
            box.submit(Arrival(prompt=32, wants=8))
        box.step()
    assert SECOND_US < batch.started_us - batch.arrived_us < 4 * SECOND_US


@pytest.mark.parametrize("class_", [Class.INTERACTIVE, Class.BATCH])
def test_only_background_is_ever_parked(class_: Class) -> None:
    """A batch sequence that runs keeps its slot, even from interactive ones."""
    box = Box(slots=1, knobs=Knobs(max_running=1))
    running = box.submit(Arrival(class_=class_, wants=5))
    box.step()
    box.submit(Arrival(wants=1))
    box.steps(4)
    assert (running.state, running.completion_tokens) == (State.ENDED, 5)
