"""Slots stay dense, and the moves of the KV memory keep every sequence's memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.serving.sequences import Class, Sequence
from engine.serving.slots import Slots

SIZE = 6


def holder(id: int, class_: Class) -> Sequence:
    """A sequence without a slot."""
    return Sequence(id, "", class_, "t", 1, 1, 0, 0)


class Memory:
    """What the slots hold after the moves; rejects what libllama could not do."""

    def __init__(self) -> None:
        """All empty."""
        self.held = [0] * SIZE

    def apply(self, slots: Slots) -> None:
        """Make all moves."""
        for source, target in slots.take_moves():
            if source < 0:
                self.held[target] = 0
            else:
                assert self.held[target] == 0, "moved onto another's memory"
                self.held[target], self.held[source] = self.held[source], 0

    def write(self, sequences: list[Sequence]) -> None:
        """Each sequence computes: its slot holds its own memory or none."""
        for sequence in sequences:
            assert self.held[sequence.slot] in {0, sequence.id}
            self.held[sequence.slot] = sequence.id


comings = st.lists(
    st.tuples(st.sampled_from([Class.INTERACTIVE, Class.BACKGROUND]), st.integers(0, 9)),
    max_size=60,
)


@given(comings)
def test_slots_are_distinct_and_memory_follows_its_sequence(
    comings: list[tuple[Class, int]],
) -> None:
    """No two in one slot, none outside, no memory lost or mixed."""
    slots, memory, running = Slots(SIZE), Memory(), dict[int, Sequence]()
    for id, (class_, leaver) in enumerate(comings, 1):
        for gone in [s for s in running.values() if s.id % 10 == leaver]:
            slots.release(running.pop(gone.id))
        if len(running) < SIZE:
            running[id] = holder(id, class_)
        foreground = [s for s in running.values() if s.class_ is Class.INTERACTIVE]
        background = [s for s in running.values() if s.class_ is Class.BACKGROUND]
        slots.arrange(foreground, background)
        memory.apply(slots)
        assert len({s.slot for s in running.values()}) == len(running)
        assert all(0 <= s.slot < SIZE for s in running.values())
        memory.write(list(running.values()))
        assert sorted(filter(None, memory.held)) == sorted(running)


@given(comings)
def test_slots_become_dense_with_the_higher_classes_first(
    comings: list[tuple[Class, int]],
) -> None:
    """A hole costs libllama a pass over the weights: a few turns later there is none."""
    slots, running = Slots(SIZE), dict[int, Sequence]()
    for id, (class_, leaver) in enumerate(comings, 1):
        for gone in [s for s in running.values() if s.id % 10 == leaver]:
            slots.release(running.pop(gone.id))
        if len(running) < SIZE:
            running[id] = holder(id, class_)
        foreground = [s for s in running.values() if s.class_ is Class.INTERACTIVE]
        background = [s for s in running.values() if s.class_ is Class.BACKGROUND]
        for _ in range(2):
            slots.arrange(foreground, background)
        slots.take_moves()
        assert sorted(s.slot for s in foreground + background) == list(range(len(running)))
        if len(running) < SIZE:  # without a free slot none can move
            for _ in range(2 * SIZE):
                slots.arrange(foreground, background)
            assert {s.slot for s in foreground} == set(range(len(foreground)))


def test_moves_are_returned_once() -> None:
    """A released slot is cleared once, before its next holder comes."""
    slots = Slots(2)
    first = holder(1, Class.BATCH)
    slots.arrange([first], [])
    slots.release(first)
    assert [tuple(move) for move in slots.take_moves()] == [(-1, 0)]
    assert slots.take_moves() == ()
    assert (first.slot, first.resident) == (-1, 0)
