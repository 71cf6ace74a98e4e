"""Slots stay dense, and the moves of the KV memory keep every sequence's memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.serving.prefix_cache import PrefixCache
from engine.serving.sequences import Class, Sequence, State
from engine.serving.slots import Move, Slots

SIZE = 6


def sequence(id: int, class_: Class = Class.BATCH, tokens: tuple[int, ...] = ()) -> Sequence:
    """One that was started just now; without tokens nothing of it is kept."""
    one = Sequence(id, "", class_, "t", len(tokens), 1, 0, 0, tokens=tokens)
    one.state = State.RUNNING
    return one


class Box:
    """Slots, and what is in them after the moves; rejects what libllama could not do."""

    def __init__(self) -> None:
        """All empty."""
        self.slots = Slots(SIZE, PrefixCache(0))
        self.held: list[tuple[int, ...]] = [()] * SIZE
        self.running: dict[int, Sequence] = {}

    def begin(self, sequence: Sequence) -> None:
        """Start a sequence, and compute all that is missing."""
        self.running[sequence.id] = sequence
        self.slots.begin(sequence)
        assert sequence.awaits is None
        self.apply()
        assert self.held[sequence.slot] == sequence.tokens[: sequence.resident]
        self.held[sequence.slot] = tuple(sequence.tokens) or (-sequence.id,)
        sequence.resident = len(sequence.tokens)

    def end(self, sequence: Sequence) -> None:
        """It has ended."""
        del self.running[sequence.id]
        self.slots.release(sequence)

    def arrange(self) -> None:
        """Before a step."""
        above = [s for s in self.running.values() if not s.background]
        self.slots.arrange(above, [s for s in self.running.values() if s.background])
        self.apply()

    def apply(self) -> None:
        """Make all moves."""
        for source, target, tokens, keeps in self.slots.take_moves():
            if source < 0:
                self.held[target] = ()
                continue
            if source != target:
                assert self.held[target] == (), "moved onto another's memory"
                self.held[target] = self.held[source]
                self.held[source] = self.held[source] if keeps else ()
            if tokens >= 0:
                self.held[target] = self.held[target][:tokens]

    def check(self) -> None:
        """Each running sequence has a slot, and its memory is there."""
        taken = [s.slot for s in self.running.values()]
        assert len(set(taken)) == len(taken)
        assert all(0 <= slot < SIZE for slot in taken)
        for one in self.running.values():
            assert self.held[one.slot] == (tuple(one.tokens) or (-one.id,))
        for entry in self.slots.cache.entries:
            if entry.sequence is None:
                assert self.slots.cache.at(entry.slot) is entry
                assert len(self.held[entry.slot]) == entry.count


comings = st.lists(
    st.tuples(
        st.sampled_from([Class.INTERACTIVE, Class.BACKGROUND]),
        st.integers(0, 9),
        st.integers(0, 3),
    ),
    max_size=60,
)


def come(box: Box, id: int, class_: Class, leaver: int, family: int) -> None:
    """Some end, and one begins where there is place; family 0 is not worth keeping."""
    for gone in [s for s in box.running.values() if s.id % 10 == leaver]:
        box.end(gone)
    if len(box.running) < SIZE:
        tokens = (*range(100 * family, 100 * family + 40), 1000 + id) if family else ()
        box.begin(sequence(id, class_, tokens))


@given(comings)
def test_slots_are_distinct_and_memory_follows_its_sequence(
    comings: list[tuple[Class, int, int]],
) -> None:
    """No two in one slot, none outside, no memory lost or mixed: running or kept."""
    box = Box()
    for id, (class_, leaver, family) in enumerate(comings, 1):
        come(box, id, class_, leaver, family)
        box.check()
        box.arrange()
        box.check()


@given(comings)
def test_slots_become_dense_with_the_higher_classes_first(
    comings: list[tuple[Class, int, int]],
) -> None:
    """A hole costs libllama a pass over the weights: a few steps later there is none."""
    box = Box()
    for id, (class_, leaver, family) in enumerate(comings, 1):
        come(box, id, class_, leaver, family)
        for _ in range(6):
            box.arrange()
        many = box.running.values()
        taken = sorted(s.slot for s in many)
        assert taken == list(range(taken[0], taken[0] + len(taken))) if taken else not many
        if len(many) < SIZE:  # without a free slot none can move
            for _ in range(2 * SIZE):
                box.arrange()
            above = [s.slot for s in many if not s.background]
            below = [s.slot for s in many if s.background]
            assert not above or not below or max(above) < min(below)


def test_moves_are_returned_once() -> None:
    """What is not kept of a released slot is cleared once, before its next holder comes."""
    slots = Slots(2, PrefixCache(0))
    first = sequence(1)
    slots.begin(first)
    slots.release(first)
    assert slots.take_moves() == (Move(-1, 0),)
    assert slots.take_moves() == ()
    assert (first.slot, first.resident) == (-1, 0)


def test_a_hole_is_left_open_for_the_next_turn_a_moment_only() -> None:
    """What ended may be continued at once, in place; if not, the last sequence moves there."""
    box = Box()
    begun = sequence(10, tokens=tuple(range(40)))
    for more in range(12):  # each continues the one before, as turns of a conversation do
        box.begin(begun)
        box.end(begun)
        begun = sequence(11 + more, tokens=(*begun.tokens, more))
    for id in (1, 2, 3):
        box.begin(sequence(id, tokens=tuple(range(100 * id, 100 * id + 40))))
    second, third = box.running[2], box.running[3]
    left, last = second.slot, third.slot
    box.end(second)
    box.arrange()
    box.begin(sequence(4, tokens=(*second.tokens, 1)))
    assert (box.running[4].slot, third.slot) == (left, last)
    box.end(box.running[4])
    for _ in range(4):
        box.arrange()
    assert third.slot == left
    assert len(list(box.slots.cache.entries)) == 4, "what was left there is elsewhere now"
