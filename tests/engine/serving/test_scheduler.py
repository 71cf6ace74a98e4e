"""The scheduler's invariants hold whatever arrives, and whenever."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving.knobs import Knobs
from engine.serving.scheduler import Scheduler
from engine.serving.sequences import MOVES, Class, IllegalMove, Sequence, State
from tests.engine.serving.simulator import FIXED_US, SECOND_US, SEQUENCE_TOKENS, Arrival, Box

arrivals = st.lists(
    st.builds(
        Arrival,
        at_us=st.integers(0, 200_000),
        class_=st.sampled_from(Class),
        tenant=st.sampled_from("abc"),
        prompt=st.integers(0, SEQUENCE_TOKENS + 2),
        wants=st.integers(1, 30),
        limit=st.integers(1, 100),
        patience_us=st.sampled_from([1, 20_000, SECOND_US, 3600 * SECOND_US]),
        adapter=st.sampled_from(["", "", "lora"]),
        cancelled_us=st.none() | st.integers(0, 300_000),
        scored=st.sampled_from([0, 0, 0, 1, 5, 40]),
    ),
    max_size=40,
)
changes = st.dictionaries(
    st.integers(0, 60),
    st.fixed_dictionaries(
        {},
        optional={
            "max_running": st.integers(1, 12),
            "prefill_budget": st.integers(16, 200),
            "queue_limit": st.integers(0, 30),
            "queue_tokens_limit": st.integers(0, 500),
            "max_tokens_cap": st.integers(1, 20),
            "weight_background": st.integers(1, 1000),
        },
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(arrivals, changes)
def test_whatever_arrives_is_answered_and_every_step_is_sound(
    coming: list[Arrival], knobs: dict[int, dict[str, int]]
) -> None:
    """Each request ends in one way of four; `Box` checks budget, bounds and memory of every step.

    Two adapters, three classes, three tenants; cancellations, deadlines and changed knobs.
    """
    box = Box(adapters=("", "lora"))
    box.replay(coming, knobs)
    ends = sorted([*box.finished, *box.cancelled, *box.refusals])
    assert ends == sorted(box.asked)
    for sequence in (box.known[id] for id in box.finished):
        positions = range(sequence.prompt_tokens - sequence.scored, sequence.prompt_tokens)
        assert box.scored[sequence.id] == (set(positions) if sequence.scored else set())
    assert box.scheduler.running == box.scheduler.waiting == box.scheduler.resident_tokens() == 0
    assert all(s.state is State.ENDED for s in box.known.values())


@settings(max_examples=50, deadline=None)
@given(arrivals, changes)
def test_what_the_requests_cost_and_idleness_add_up_to_the_time_that_passed(
    coming: list[Arrival], knobs: dict[int, dict[str, int]]
) -> None:
    """To the microsecond."""
    box = Box(adapters=("", "lora"))
    box.replay(coming, knobs)
    assert sum(s.busy_us for s in box.known.values()) + box.idle_us == box.now_us
    assert all(s.busy_us >= 0 for s in box.known.values())


@settings(max_examples=50, deadline=None)
@given(arrivals)
def test_what_finishes_has_all_its_tokens_and_never_more_than_fit(coming: list[Arrival]) -> None:
    """Parked or not: as many as it wanted, its limit allows, and the context holds."""
    box = Box(adapters=("", "lora"))
    box.replay(coming, {})
    for id in box.finished:
        asked, sequence = box.asked[id], box.known[id]
        most = SEQUENCE_TOKENS - asked.prompt
        wanted = 0 if sequence.scored else min(asked.wants, asked.limit, most)
        assert sequence.completion_tokens == wanted


def test_a_long_replay_ends_with_every_request_answered() -> None:
    """Bursts over hours of the scheduler's time: nothing is lost, nothing is left over."""
    dice = random.Random(7)
    coming: list[Arrival] = []
    at = 0
    for _ in range(1500):
        at += 0 if dice.random() < 0.7 else dice.randrange(60_000)
        coming.append(
            Arrival(
                at_us=at,
                class_=dice.choices(list(Class), (6, 2, 2))[0],
                tenant=dice.choice("abcdefgh"),
                prompt=dice.randrange(1, 48),
                wants=dice.randrange(1, 32),
                patience_us=dice.choice([200_000, 5 * SECOND_US, 600 * SECOND_US]),
                adapter=dice.choice(["", "", "lora"]),
            )
        )
    box = Box(slots=8, adapters=("", "lora"), knobs=Knobs(max_running=8, queue_limit=64))
    box.replay(coming, {})
    assert sorted([*box.finished, *box.refusals]) == list(range(1, 1501))
    assert {refusal.code for refusal in box.refusals.values()} <= {"queue_full", "deadline"}
    assert len(box.finished) > 750
    assert len(box.scheduler._deadlines) <= 2 * (64 + 16) + 64, "ended requests are not remembered"


def test_streams_go_on_while_a_long_prompt_is_read() -> None:
    """Each step gives every stream its token; the prompt takes what the budget leaves, in turns."""
    box = Box(knobs=Knobs(max_running=4, prefill_budget=16))
    streams = box.flood(3, Arrival(prompt=4, wants=50))
    box.step()
    long = box.submit(Arrival(prompt=60, wants=2))
    plans = box.steps(4)
    assert [plan.decode for plan in plans] == [3, 3, 3, 3]
    assert [plan.prefill for plan in plans] == [16, 16, 16, 12]
    assert [s.completion_tokens for s in streams] == [5, 5, 5]
    assert long.completion_tokens == 1


def test_a_step_never_holds_more_tokens_than_the_batch_has_room_for() -> None:
    """`room` is libllama's n_batch: one token more would abort the process."""
    box = Box(slots=4, room=6, knobs=Knobs(max_running=4, prefill_budget=8192))
    box.flood(4, Arrival(prompt=20, wants=9))
    box.replay([], {})
    assert len(box.finished) == 4


def test_more_may_be_allowed_to_run_than_there_are_slots() -> None:
    """`max_running` is a live knob and slots are not: the smaller of the two holds."""
    box = Box(slots=4, knobs=Knobs(max_running=64, prefill_budget=8192))
    box.flood(12, Arrival(prompt=4, wants=3))
    plan = box.step()
    assert len(plan.rows) == 4
    assert box.scheduler.waiting == 8


def test_two_adapters_take_turns_step_by_step() -> None:
    """Neither starves, however many wait for the other."""
    box = Box(adapters=("", "lora"), knobs=Knobs(max_running=4, prefill_budget=64))
    box.flood(2, Arrival(wants=20))
    box.flood(2, Arrival(wants=20, adapter="lora"))
    box.steps(2)
    box.flood(9, Arrival(wants=20))
    assert [plan.adapter for plan in box.steps(12)] == ["", "lora"] * 6


def test_a_full_adapter_does_not_keep_another_from_a_freed_place() -> None:
    """`max_running` counts both adapters; a place that is freed goes to who has waited longest."""
    box = Box(adapters=("", "lora"), knobs=Knobs(max_running=4, prefill_budget=64))
    box.flood(4, Arrival(wants=3))
    lora = box.submit(Arrival(adapter="lora"))
    box.step()
    box.flood(20, Arrival(wants=3))
    box.steps(2)
    assert len(box.finished) == 4
    box.steps(2)
    assert lora.state is State.RUNNING
    assert box.scheduler.running == 4


def test_a_cancelled_sequence_frees_its_slot_at_the_next_step() -> None:
    """And its KV memory is cleared before another sequence uses the slot."""
    box = Box(slots=1, knobs=Knobs(max_running=1))
    first = box.submit(Arrival(wants=50))
    second = box.submit(Arrival())
    box.step()
    assert (first.state, second.state) == (State.RUNNING, State.WAITING)
    box.cancel(first)
    plan = box.step()
    assert [row.sequence for row in plan.rows] == [second]
    assert [move[:2] for move in plan.moves if move.source < 0] == [(-1, 0)]


def test_a_deadline_ends_what_has_shown_nothing_and_nothing_else() -> None:
    """Waiting or in the middle of its prompt it is refused; with a first token it continues."""
    box = Box(slots=2, knobs=Knobs(max_running=2, prefill_budget=16))
    patience = FIXED_US * 4
    begun = box.submit(Arrival(prompt=4, wants=40, patience_us=patience))
    reading = box.submit(Arrival(prompt=60, patience_us=patience))
    waiting = box.submit(Arrival(patience_us=patience))
    box.steps(4)
    assert {id: refusal.code for id, refusal in box.refusals.items()} == {
        reading.id: "deadline",
        waiting.id: "deadline",
    }
    assert begun.state is State.RUNNING
    assert all(refusal.retry_after_us > 0 for refusal in box.refusals.values())


def test_lowering_the_running_limit_lets_what_runs_end_and_starts_no_other() -> None:
    """No class above background loses a running sequence to a knob."""
    box = Box(slots=4, knobs=Knobs(max_running=4, prefill_budget=64))
    running = box.flood(4, Arrival(wants=6))
    waiting = box.flood(2, Arrival(wants=6))
    box.step()
    box.scheduler.knobs = box.scheduler.knobs.changed({"max_running": 1})
    box.steps(5)
    assert [s.state for s in running] == [State.ENDED] * 4
    assert [s.state for s in waiting] == [State.WAITING] * 2
    box.step()
    assert box.scheduler.running == 1


def test_an_idle_scheduler_has_no_step() -> None:
    """No rows, no carries, nothing refused."""
    plan = Scheduler(slots=2, sequence_tokens=16, room=32, knobs=Knobs()).plan(0)
    assert (plan.rows, plan.moves, plan.refusals) == ((), (), ())


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("to", State)
def test_a_sequence_moves_along_the_table_only(state: State, to: State) -> None:
    """Anything else is a fault of the scheduler and says so."""
    sequence = Sequence(1, "", Class.BATCH, "t", 1, 1, 0, 0, state=state)
    if to in MOVES[state]:
        sequence.move(to)
        assert sequence.state is to
    else:
        with pytest.raises(IllegalMove, match=f"{state.name} -> {to.name}"):
            sequence.move(to)


def test_a_scoring_shares_steps_and_its_logits_are_bounded() -> None:
    """It decodes nothing: its prompt is read beside the streams, a few logits rows a step."""
    box = Box(scored_outputs=3)
    streams = box.flood(2, Arrival(prompt=4, wants=50))
    scoring = box.submit(Arrival(prompt=30, scored=10, class_=Class.BACKGROUND))
    box.scheduler.knobs = box.scheduler.knobs.changed({"weight_background": 1000})
    while scoring.state is not State.ENDED:
        plan = box.step()
        stepped = {row.sequence.id for row in plan.rows}
        assert {s.id for s in streams if s.decoding} <= stepped
    assert scoring.completion_tokens == 0
    assert len(box.scored[scoring.id]) == 10


def test_a_scoring_may_fill_the_context_to_its_last_token() -> None:
    """It needs no place for an answer; one token more is refused."""
    box = Box()
    full = box.submit(Arrival(prompt=SEQUENCE_TOKENS, scored=5))
    more = box.submit(Arrival(prompt=SEQUENCE_TOKENS + 1, scored=5))
    assert box.refusals[more.id].code == "too_long"
    box.steps(5)
    assert full.id in box.finished


def test_an_adapter_that_is_removed_ends_its_sequences_and_no_others() -> None:
    """Running and waiting ones; then none of its kind is admitted."""
    box = Box(adapters=("", "lora"))
    kept = box.flood(2, Arrival(wants=5))
    gone = box.flood(3, Arrival(wants=5, adapter="lora"))
    box.steps(2)
    assert set(box.scheduler.remove_adapter("lora")) == set(gone)
    assert box.refusals[box.submit(Arrival(adapter="lora")).id].code == "no_adapter"
    box.steps(10)
    assert box.finished == [sequence.id for sequence in kept]
