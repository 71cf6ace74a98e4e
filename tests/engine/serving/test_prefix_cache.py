"""What is in memory is found and reused, and no text differs from one that was computed whole."""

from __future__ import annotations

import random
from collections.abc import Sequence as Many
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.serving import prefix_cache
from engine.serving.knobs import Knobs
from engine.serving.sequences import Class, Sequence, State
from tests.engine.serving.simulator import SECOND_US, Arrival, Box

LONG: Final = 2048
"""Tokens of a sequence in the boxes whose prompts are worth a copy."""
SYSTEM: Final = tuple(range(1, 101))
tokens = st.lists(st.integers(0, 3), max_size=40)


def said(tokens: Many[int], wants: int, adapter: str = "") -> list[int]:
    """What the simulated model answers alone, without any cache."""
    known = list(tokens)
    for _ in range(wants):
        known.append(hash((len(adapter), *known)) % 50)
    return known[len(tokens) :]


def box(slots: int = 4, *, budget: int = 8192, cuts: bool = True, **knobs: int) -> Box:
    """A worker with one adapter and long sequences."""
    most = {"max_running": slots, "prefill_budget": budget} | knobs
    return Box(slots=slots, knobs=Knobs(**most), sequence_tokens=LONG, cuts=cuts)


def run(box: Box, *arrivals: Arrival) -> list[Sequence]:
    """Each after the one before has ended."""
    ended = []
    for arrival in arrivals:
        ended.append(box.submit(arrival))
        while box.scheduler.live:
            box.step()
    return ended


def answer(sequence: Sequence) -> list[int]:
    """The tokens that were generated."""
    return list(sequence.tokens[sequence.prompt_tokens :])


def asks(*more: int, wants: int = 4, **fields: object) -> Arrival:
    """The system prompt and a question."""
    return Arrival(tokens=(*SYSTEM, *more), wants=wants, **fields)  # type: ignore[arg-type]


@given(tokens, tokens, st.integers(0, 50))
def test_the_common_beginning_is_counted_exactly(
    one: list[int], other: list[int], most: int
) -> None:
    """Token by token, with the bound."""
    alike = 0
    while alike < min(len(one), len(other), most) and one[alike] == other[alike]:
        alike += 1
    packed = (prefix_cache.pack(one), prefix_cache.pack(other))
    assert alike == prefix_cache.common(*packed, most)


def test_a_conversation_computes_only_what_is_new() -> None:
    """Each turn begins in place where the turn before ended, without a copy."""
    one = box()
    known: tuple[int, ...] = SYSTEM
    for turn in range(5):
        before = one.computed
        known += tuple(range(1000 * turn, 1000 * turn + 20))
        (sequence,) = run(one, Arrival(tokens=known, wants=10))
        assert answer(sequence) == said(known, 10)
        if turn:
            assert sequence.cached == len(known) - 20 - 1  # nor was its last token computed
            assert one.computed - before == 21 + 9
        known = tuple(sequence.tokens)


def test_at_least_the_last_token_of_a_prompt_is_computed() -> None:
    """Its logits are those of the first answered token."""
    one = box()
    first, again = run(one, asks(7), asks(7))
    assert (again.cached, again.prompt_tokens) == (100, 101)
    assert answer(again) == answer(first)


def test_a_prompt_that_several_share_is_computed_once_even_at_the_same_time() -> None:
    """The others wait for the one that computes it, then each computes its own rest."""
    one = box(slots=8, budget=64)
    many = [one.submit(asks(1000 + number)) for number in range(8)]
    one.replay([], {})
    assert one.computed == 100 + 8 + 8 * 3
    assert [s.cached for s in many] == [0] + [100] * 7
    assert [answer(s) for s in many] == [said(s.tokens[:101], 4) for s in many]


def test_several_answers_to_one_request_fork_its_prompt() -> None:
    """The prompt is computed once, its last token for each."""
    one = box(slots=4)
    first = one.submit(asks(7))
    others = [one.submit(asks(7), request=first.id) for _ in range(3)]
    one.replay([], {})
    assert [s.cached for s in (first, *others)] == [0, 100, 100, 100]
    assert one.computed == 101 + 3 + 4 * 3


def test_the_others_wait_no_longer_when_the_one_that_computes_is_cancelled() -> None:
    """The next takes over from where it was."""
    one = box(budget=16)
    first, second, third = (one.submit(asks(1000 + number)) for number in range(3))
    one.steps(3)
    assert (first.resident, second.resident, third.resident) == (48, 0, 0)
    one.cancel(first)
    one.replay([], {})
    assert second.cached == 48
    assert third.cached > 100 - prefix_cache.WAIT_LEAST
    assert [answer(s) for s in (second, third)] == [
        said(s.tokens[:101], 4) for s in (second, third)
    ]


def test_nobody_waits_for_background_or_for_another_tenant() -> None:
    """They may be given less time: what they compute is reused as far as it is there."""
    one = box(budget=16)
    low = one.submit(asks(1, class_=Class.BACKGROUND))
    one.step()
    high, other = one.submit(asks(2)), one.submit(asks(3, tenant="u"))
    one.step()
    assert high.awaits is other.awaits is None
    one.replay([], {})
    assert {s.state for s in (low, high, other)} == {State.ENDED}


def test_a_scope_is_found_by_itself_alone() -> None:
    """Neither does it reuse what another left, nor is it reused."""
    one = box()
    cached = [s.cached for s in run(one, *(asks(7, scope=scope) for scope in ("a", "b", "", "a")))]
    assert cached == [0, 0, 0, 100]


def test_adapters_share_nothing() -> None:
    """Keys and values under one are wrong under another."""
    one = Box(adapters=("", "lora"), sequence_tokens=LONG, knobs=Knobs(prefill_budget=512))
    base, lora, again = run(one, asks(7), asks(7, adapter="lora"), asks(7, adapter="lora"))
    assert (base.cached, lora.cached, again.cached) == (0, 0, 100)
    assert answer(again) == said((*SYSTEM, 7), 4, "lora") != answer(base)


def test_the_knob_switches_reuse_off_and_on() -> None:
    """At once; what was left before is found again."""
    one = box()
    run(one, asks(7))
    cached = []
    for value in (0, 1):
        one.scheduler.knobs = one.scheduler.knobs.changed({"prefix_cache": value})
        cached.append(run(one, asks(8))[0].cached)
    assert cached == [0, 100]


def test_what_is_kept_never_keeps_a_request_out() -> None:
    """Every slot is full of what ended sequences left: as many run at once as there are slots."""
    one = box(slots=4)
    run(one, *(Arrival(prompt=200) for _ in range(4)))
    assert sum(entry.sequence is None for entry in cache(one).entries) == 4
    one.flood(4, Arrival(prompt=200))
    assert len(one.step().rows) == 4


def cache(one: Box) -> prefix_cache.PrefixCache:
    """The entries of the base's context."""
    return one.scheduler.adapters[""].slots.cache


def test_what_was_used_longest_ago_is_evicted_first() -> None:
    """A conversation that continued lately stays."""
    one = box(slots=3)
    known = [tuple(range(at, at + 60)) for at in (1000, 2000, 3000)]
    run(one, *(Arrival(tokens=each) for each in known))
    run(one, Arrival(tokens=(*known[0], 1)), Arrival(prompt=60))
    left = {entry.tokens[:240] for entry in cache(one).entries}
    assert [prefix_cache.pack(each) in left for each in known] == [True, False, True]


def test_the_only_copy_of_a_shared_prompt_is_evicted_last() -> None:
    """Three asked after it, and then others came: it is there for the next."""
    one = box(slots=3)
    run(one, *(asks(*range(at, at + 30)) for at in (1000, 2000, 3000)))
    run(one, *(Arrival(prompt=200) for _ in range(8)))
    assert run(one, asks(4000))[0].cached == 100


def test_a_few_tokens_in_common_are_not_worth_a_copy() -> None:
    """Nor do they cost another conversation its memory."""
    one = box()
    first = tuple(range(1, 301))
    run(one, Arrival(tokens=first), Arrival(tokens=(*first[:8], *range(5000, 5100))))
    assert run(one, Arrival(tokens=(*first, 9)))[0].cached == 300


def test_memory_that_cannot_be_cut_is_reused_whole_or_not_at_all() -> None:
    """The next turn of a conversation is; another question after the same prompt is not."""
    one = box(cuts=False)
    first, other = run(one, asks(1, 2, 3), asks(4, 5, 6))
    (turn,) = run(one, Arrival(tokens=(*first.tokens, 8, 9), wants=4))
    assert (other.cached, turn.cached) == (0, len(first.tokens) - 1)
    assert answer(turn) == said(turn.tokens[: turn.prompt_tokens], 4)


def test_a_sequence_that_was_parked_finds_its_memory_again() -> None:
    """Where there is place for it meanwhile, only what was not computed yet is computed."""
    one = box(slots=3, max_running=1)
    low = one.submit(asks(7, class_=Class.BACKGROUND, wants=40))
    one.steps(5)
    run(one, Arrival(prompt=50, wants=3))
    assert low.parks == 1
    assert answer(low) == said((*SYSTEM, 7), 40)
    assert one.computed == 101 + 39 + 50 + 2


def test_a_scoring_reuses_what_its_logits_do_not_need() -> None:
    """The tokens that are scored are computed, whatever is in memory."""
    one = box(slots=2)
    one.scored_outputs = one.scheduler.scored_outputs = 32
    run(one, asks(*range(500, 530)))
    (scoring,) = run(one, asks(*range(500, 530), scored=10))
    assert scoring.cached == 120
    assert one.scored[scoring.id] == set(range(120, 130))


def interleaving(seed: int) -> None:
    """Requests of a few families of prompts, with all that may happen to them."""
    dice = random.Random(seed)
    cuts = dice.random() < 0.8
    slots = dice.randrange(1, 7)
    one = Box(
        slots=slots,
        adapters=("", "lora"),
        knobs=Knobs(max_running=dice.randrange(1, 9), prefill_budget=dice.choice([16, 50, 400])),
        sequence_tokens=512,
        cuts=cuts,
    )
    families = [tuple(dice.choices(range(9), k=dice.randrange(1, 150))) for _ in range(3)]
    history: list[tuple[int, ...]] = []
    for _ in range(24):
        known = dice.choice(history) if history and dice.random() < 0.4 else dice.choice(families)
        known = known[: dice.randrange(1, 300)] + tuple(dice.choices(range(9), k=3))
        arrival = Arrival(
            tokens=known,
            class_=dice.choices(list(Class), (6, 2, 2))[0],
            tenant=dice.choice("aab"),
            wants=dice.randrange(1, 12),
            adapter=dice.choice(["", "", "lora"]),
            scope=dice.choice(["", "", "", "x"]),
            scored=dice.choice([0] * 9 + [1]),
        )
        first = one.submit(arrival)
        for _ in range(dice.choice([0, 0, 0, 2])):
            one.submit(arrival, request=first.id)
        for _ in range(dice.randrange(5)):
            one.step()
        live = list(one.scheduler.live.values())
        if live and dice.random() < 0.2:
            one.cancel(dice.choice(live))
        if dice.random() < 0.1:
            value = dice.randrange(2)
            one.scheduler.knobs = one.scheduler.knobs.changed({"prefix_cache": value})
        history += [tuple(one.known[id].tokens) for id in one.finished[-1:]]
    one.replay([], {})
    for id in one.finished:
        sequence = one.known[id]
        if not sequence.scored:
            asked = one.asked[id]
            assert answer(sequence) == said(asked.tokens, asked.wants, asked.adapter)
    assert sorted([*one.finished, *one.cancelled, *one.refusals]) == sorted(one.asked)
    assert not any(refusal.code != "too_long" for refusal in one.refusals.values())


@pytest.mark.parametrize("part", range(4))
def test_no_text_differs_from_the_uncached_one(part: int) -> None:
    """Forks, cancellations, evictions, adapters, scopes, parked and scored sequences.

    The simulated model's next token follows from all tokens in its memory, so one wrong token there
    changes all of the rest; `Box` looks at the memory before each row, besides.
    """
    for seed in range(part * 1000, part * 1000 + 25):
        interleaving(seed)


@pytest.mark.soak
def test_no_text_differs_in_a_thousand_interleavings() -> None:
    """The same, longer."""
    for seed in range(10_000, 11_000):
        interleaving(seed)


def test_admission_counts_on_what_is_in_memory_only_as_a_gain() -> None:
    """A full memory refuses nothing: requests are judged as if it were empty."""
    one = box(slots=2, queue_limit=2)
    run(one, *(Arrival(prompt=900) for _ in range(6)))
    many = one.flood(4, Arrival(prompt=900, patience_us=3600 * SECOND_US))
    one.replay([], {})
    assert all(s.id in one.finished for s in many)
