"""Which inputs of embeddings are computed next."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving.input_queue import OVERALL, Asked, InputQueue
from engine.serving.sequences import Class


def asked(id: int, *sizes: int, tenant: str = "t", class_: int = 0, deadline_us: int = 9) -> Asked:
    """A request with inputs of these sizes."""
    return Asked(id, Class(class_), tenant, [[0] * size for size in sizes], 0, deadline_us)


def ids(taken: list[tuple[Asked, int]]) -> list[tuple[int, int]]:
    """The requests by id, with the index of the input."""
    return [(each.id, index) for each, index in taken]


def test_a_step_has_what_fits_and_at_least_one() -> None:
    """Inputs are whole; one that is larger than a step is alone in it."""
    queue = InputQueue()
    queue.push(asked(1, 5, 5, 20, 3))
    assert ids(queue.take(10, 8, 0)) == [(1, 0), (1, 1)]
    assert ids(queue.take(10, 8, 0)) == [(1, 2)]
    assert ids(queue.take(10, 8, 0)) == [(1, 3)]
    assert (queue.count, queue.tokens) == (0, 0)


def test_a_tenant_with_a_thousand_inputs_does_not_hold_up_another() -> None:
    """They share by tokens from the moment that the second one comes."""
    queue = InputQueue()
    queue.push(asked(1, *[4] * 100, tenant="flood"))
    queue.take(40, 64, 0)
    queue.push(asked(2, 4, 4, tenant="other"))
    tenants = [each.tenant for each, _ in queue.take(16, 64, 0)]
    assert tenants.count("other") == 2


def test_classes_go_first_to_last_and_background_never_rides_along() -> None:
    """Within one tenant, too."""
    queue = InputQueue()
    queue.push(asked(1, 2, class_=2))
    queue.push(asked(2, 2, class_=1))
    queue.push(asked(3, 2, class_=0))
    assert ids(queue.take(100, 8, 0)) == [(3, 0), (2, 0)]
    assert ids(queue.take(100, 8, 0)) == [(1, 0)]


def test_only_what_has_not_begun_expires() -> None:
    """A request whose first input was computed is finished."""
    queue = InputQueue()
    queue.push(asked(1, 8, 8, deadline_us=5))
    queue.push(asked(2, 8, tenant="u", deadline_us=5))
    queue.take(8, 1, 4)
    assert [each.id for each in queue.expired(5)] == [2]
    assert ids(queue.take(8, 1, 6)) == [(1, 1)]


def test_a_tenant_is_bounded_by_what_it_has_waiting_in_its_class_and_above() -> None:
    """Not by what others have, nor by its own background."""
    queue = InputQueue()
    queue.push(asked(1, 300, 300, class_=2))
    queue.push(asked(2, 50, 60, class_=1))
    assert queue.displaced("t", Class.BACKGROUND, 9, 600) is None
    assert queue.displaced("t", Class.BATCH, 9, 100) is None
    assert queue.displaced("t", Class.BATCH, 1, 170) == []
    assert queue.displaced("t", Class.BATCH, 0, 170) is None
    assert queue.displaced("t", Class.INTERACTIVE, 0, 170) == []
    assert queue.displaced("other", Class.BACKGROUND, 1, 170) == []
    queue.take(1, 1, 0)
    assert queue.displaced("t", Class.BATCH, 9, 100) == []


def test_beyond_the_bound_of_all_the_newest_background_gives_way() -> None:
    """What has begun stays, with its further parts; background does not give way to background."""
    queue = InputQueue()
    begun, part = asked(1, 1, 100, class_=2), asked(2, 100, class_=2)
    part.further = True
    older, newer = (asked(id, 100, tenant="u", class_=2) for id in (3, 4))
    newer.arrived_us = 1
    for each in (begun, part, older, newer):
        queue.push(each)
    queue.take(1, 1, 0)
    assert queue.displaced("v", Class.INTERACTIVE, 9, 400 // OVERALL) == []
    assert queue.displaced("v", Class.INTERACTIVE, 9, 300 // OVERALL) == [newer, older]
    assert queue.displaced("v", Class.INTERACTIVE, 9, 100 // OVERALL) is None
    assert queue.displaced("v", Class.BACKGROUND, 9, 300 // OVERALL) is None


requests = st.lists(
    st.tuples(
        st.lists(st.integers(1, 30), min_size=1, max_size=6), st.sampled_from("abc"),
        st.integers(0, 2), st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


@given(requests, st.integers(1, 40), st.integers(1, 8))
@settings(max_examples=50)
def test_every_input_is_computed_once_and_counts_add_up(
    asks: list[tuple[list[int], str, int, bool]], room: int, most: int
) -> None:
    """Whatever is dropped between the steps."""
    queue = InputQueue()
    made = [
        asked(id, *sizes, tenant=tenant, class_=class_)
        for id, (sizes, tenant, class_, _) in enumerate(asks)
    ]
    for each in made:
        queue.push(each)
    dropped = {each.id for each, (*_, drop) in zip(made, asks, strict=True) if drop}
    computed = ids(queue.take(room, most, 0))
    for id in dropped:
        queue.drop(made[id])
        queue.drop(made[id])
    while step := queue.take(room, most, 0):
        sizes = [len(each.inputs[index]) for each, index in step]
        assert len(step) <= most
        assert len(step) == 1 or sum(sizes) <= room
        computed += ids(step)
    assert len(computed) == len(set(computed))
    kept = {
        (each.id, n) for each in made if each.id not in dropped for n in range(len(each.inputs))
    }
    assert kept <= set(computed)
    assert (queue.count, queue.tokens) == (0, 0)
