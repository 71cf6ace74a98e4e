"""Decisions about splits, without a store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.control.decisions import Reason
from engine.control.services import splits
from storage.services import Arm, Service, Split


def _arms(weights: dict[int, int]) -> tuple[Arm, ...]:
    return tuple(Arm(release=number, weight_bp=weight) for number, weight in weights.items())


def _split(id: int, arms: tuple[Arm, ...], restores: int | None = None) -> Split:
    return Split(
        id=id, service="support", salt="s", arms=arms, restores=restores, set_at_us=0,
        set_by="kim", intent_id=None,
    )  # fmt: skip


def _service(arms: tuple[Arm, ...], version: int = 4, split: Split | None = None) -> Service:
    split = split or _split(1, arms)
    return Service(
        name="support", split=split, record_text=False, version=version, created_at_us=0,
        created_by="kim",
    )  # fmt: skip


weights = st.dictionaries(st.integers(1, 9), st.integers(0, 10_000), min_size=1, max_size=5)
broken = st.dictionaries(st.integers(1, 9), st.just("r1 cannot answer: damaged."))
seen = st.none() | st.integers(1, 6)


@given(weights, weights, broken, seen)
def test_no_traffic_ever_goes_to_a_release_that_cannot_answer(
    current: dict[int, int], wanted: dict[int, int], lost: dict[int, str], saw: int | None
) -> None:
    """An arm that cannot answer is not added, and never gets more; it may keep what it has."""
    observed = splits.Observed(_service(_arms(current)), lost)
    decision = splits.decide(_arms(wanted), observed, saw)
    risky = any(
        weight > current.get(number, -1) and number in lost for number, weight in wanted.items()
    )
    assert (decision.reason is Reason.UNLOADABLE) == risky
    assert decision.sentence
    if decision.plan is not None:
        assert decision.plan == _arms(wanted)


@given(weights)
def test_the_current_split_is_not_set_again(current: dict[int, int]) -> None:
    """Pressing the key twice has the effect of pressing it once."""
    observed = splits.Observed(_service(_arms(current)), {})
    assert splits.decide(_arms(current), observed, None).reason is Reason.UNCHANGED
    assert splits.decide(_arms(current), observed, 4).reason is Reason.UNCHANGED


@given(weights)
def test_the_same_split_with_an_old_version_is_left_to_the_store(current: dict[int, int]) -> None:
    """It refuses the version; an old one must not end as `no change`."""
    observed = splits.Observed(_service(_arms(current)), {})
    assert splits.decide(_arms(current), observed, 3).reason is Reason.APPLIED


OLD, NEW, LATER = (_arms({number: 10_000}) for number in (1, 2, 3))


def _undo(current: Split, undone: Split | None, target: Split | None) -> splits.Undo:
    return splits.Undo(_service((), split=current), undone, target, {})


def test_going_back_goes_to_its_target_and_never_toggles() -> None:
    """By id: applied once; from the split that was restored there is nothing to change."""
    old, new = _split(1, OLD), _split(2, NEW)
    first = splits.decide_undo(_undo(new, None, old), None)
    assert (first.reason, first.plan) == (Reason.APPLIED, old)
    assert first.sentence == "support: r1 100 % (before: r2 100 %)."
    again = splits.decide_undo(_undo(_split(3, OLD, restores=1), None, old), None)
    assert again.reason is Reason.UNCHANGED


def test_an_intent_is_undone_only_while_nothing_changed_after_it() -> None:
    """Applied, then no change; refused after another change, which it would undo, too."""
    old, new = _split(1, OLD), _split(2, NEW)
    assert splits.decide_undo(_undo(new, new, old), 7).reason is Reason.APPLIED
    back = _split(3, OLD, restores=1)
    assert splits.decide_undo(_undo(back, new, old), 7).reason is Reason.UNCHANGED
    moved = splits.decide_undo(_undo(_split(3, LATER), new, old), 7)
    assert moved.reason is Reason.MOVED
    assert moved.sentence.startswith("support changed after intent 7: kim set r3 100 %.")


def test_an_intent_that_set_no_split_or_the_first_one_cannot_be_undone() -> None:
    """Each with its own sentence."""
    old = _split(1, OLD)
    assert splits.decide_undo(_undo(old, None, None), 7).reason is Reason.UNKNOWN
    assert splits.decide_undo(_undo(old, old, None), 7).reason is Reason.INVALID


def test_going_back_to_a_release_that_cannot_answer_is_refused() -> None:
    """The reason is the one that a split would be refused for."""
    observed = splits.Undo(
        _service((), split=_split(2, NEW)), None, _split(1, OLD), {1: "r1 cannot answer."}
    )
    assert splits.decide_undo(observed, None).reason is Reason.UNLOADABLE
