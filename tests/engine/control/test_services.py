"""What is decided about splits, without a store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.control import services
from engine.control.decisions import Reason
from storage.services import Arm, Service, Split


def _arms(weights: dict[int, int]) -> tuple[Arm, ...]:
    return tuple(Arm(release=number, weight_bp=weight) for number, weight in weights.items())


def _service(arms: tuple[Arm, ...], version: int = 4) -> Service:
    split = Split(
        id=1, service="support", salt="s", arms=arms, set_at_us=0, set_by="kim", intent_id=None
    )
    return Service(
        name="support", split=split, record_text=False, version=version, created_at_us=0,
        created_by="kim",
    )  # fmt: skip


weights = st.dictionaries(st.integers(1, 9), st.integers(0, 10_000), min_size=1, max_size=5)
broken = st.dictionaries(st.integers(1, 9), st.just("r1 cannot answer: damaged."))
seen = st.none() | st.integers(1, 6)


@given(weights, weights, broken, seen)
def test_no_traffic_ever_goes_to_what_can_not_answer(
    standing: dict[int, int], wanted: dict[int, int], lost: dict[int, str], saw: int | None
) -> None:
    """Arms of weight 0 may be broken, arms with traffic not."""
    observed = services.Observed(_service(_arms(standing)), lost)
    decision = services.decide(_arms(wanted), observed, saw)
    risky = any(weight and number in lost for number, weight in wanted.items())
    assert (decision.reason is Reason.UNLOADABLE) == risky
    assert decision.sentence
    if decision.plan is not None:
        assert decision.plan == _arms(wanted)


@given(weights)
def test_what_stands_already_is_not_set_again(standing: dict[int, int]) -> None:
    """Pressing the key twice is as pressing it once."""
    observed = services.Observed(_service(_arms(standing)), {})
    assert services.decide(_arms(standing), observed, None).reason is Reason.UNCHANGED
    assert services.decide(_arms(standing), observed, 4).reason is Reason.UNCHANGED


@given(weights)
def test_who_saw_another_world_is_not_told_that_all_is_well(standing: dict[int, int]) -> None:
    """An old `seen` goes on to the store, which says that the service has moved."""
    observed = services.Observed(_service(_arms(standing)), {})
    assert services.decide(_arms(standing), observed, 3).reason is Reason.APPLIED
