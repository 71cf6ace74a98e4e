"""Which sequence holds which slot of a context, and what ended sequences left in the others.

llama.cpp takes only consecutive sequence ids into one pass over the weights, so the running
sequences hold consecutive slots, the classes above background before background; a hole is closed
by moving the last sequence into it. The other slots keep the memory of ended sequences until they
are needed (`prefix_cache`): then it is moved to an empty slot, in place of older memory, or given
up. What the KV memory has to do is recorded in order.

Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Final, NamedTuple

from engine.serving.prefix_cache import Entry, Match, PrefixCache
from engine.serving.sequences import Sequence

_PATIENCE: Final = 2
"""Where most sequences continue one that ended, a hole is left open for so many steps."""


class Move(NamedTuple):
    """`target` gets the first `tokens` of the memory of `source`, or all of it with -1.

    The source is emptied unless `keeps`. Source and target alike: cut. Source -1: clear `target`.
    A target is empty before, or the source.
    """

    source: int
    target: int
    tokens: int = -1
    keeps: bool = False


class Slots:
    """The slots of one context. `reuse`: begin from what is there, and keep what ends."""

    def __init__(self, size: int, cache: PrefixCache) -> None:
        """All free."""
        self.size = size
        self.cache = cache
        self.reuse = True
        self._held: list[Sequence | None] = [None] * size
        self._moves: list[Move] = []
        self._base = 0
        self._open: dict[int, int] = {}  # since how many steps a hole is left open

    def take_moves(self) -> tuple[Move, ...]:
        """What the KV memory has to do now, in this order; returned once."""
        moves = tuple(self._moves)
        self._moves.clear()
        return moves

    # begin and end

    def begin(self, sequence: Sequence) -> None:
        """Give a started sequence a slot with as much of its memory as there is.

        Unless another sequence is computing more of it: then it waits for that one.
        """
        match = self.cache.find(sequence) if self.reuse else None
        found = 0 if match is None else match.tokens
        sequence.awaits = self.cache.leader(sequence, found) if self.reuse else None
        if sequence.awaits is not None:
            return
        self._enter(sequence, match)
        sequence.resident = found
        if sequence.cached < 0:
            sequence.cached = found
        self.cache.hold(sequence, match)

    def release(self, sequence: Sequence, *, keep: bool = True) -> None:
        """A sequence ended, or was parked: `keep` its memory if that may be of use."""
        sequence.awaits = None
        if sequence.slot < 0:
            return
        self._held[sequence.slot] = None
        if not (keep and self.reuse and self.cache.keep(sequence)):
            self._clear(sequence.slot)
        sequence.slot = -1
        sequence.resident = 0

    def forget(self) -> None:
        """Give up what ended sequences left."""
        while (entry := self.cache.victim()) is not None:
            self._clear(entry.slot)

    def _enter(self, sequence: Sequence, match: Match | None) -> None:
        """Find a slot for a new sequence, and bring there what it begins from."""
        low, high, total = self._range(sequence, match)
        if match is None:
            target = self._free(sequence, low, high, total, ())
            self._vacate(target, ())
        else:
            source = match.entry
            if match.whole and low <= source.slot < high:
                target = source.slot
            else:
                target = self._free(sequence, low, high, total, (source,))
            if target == source.slot:
                self._take_over(match)
            else:
                self._vacate(target, (source,))
                whole = source.sequence is None and match.tokens == source.count
                tokens = -1 if whole else match.tokens
                self._moves.append(Move(source.slot, target, tokens, keeps=not match.whole))
                if match.whole:
                    self.cache.drop(source.slot)
        self._held[target] = sequence
        sequence.slot = target

    def _take_over(self, match: Match) -> None:
        """Begin in the slot of the source; what others may need of it is copied to another."""
        source, slot = match.entry, match.entry.slot
        if not match.whole and (refuge := self._refuge((source,))) is not None:
            self._moves.append(Move(slot, refuge, keeps=True))
            self.cache.moved(slot, refuge)
        if match.tokens < source.count:
            self._moves.append(Move(slot, slot, match.tokens, keeps=True))

    # where sequences are

    def arrange(self, foreground: Many[Sequence], background: Many[Sequence]) -> None:
        """Put all into consecutive slots, foreground first, as far as that is possible."""
        border = len(foreground)
        total = border + len(background)
        if not total:
            return
        self._base = base = max(0, min(self._lowest(), self.size - total))
        border, total = base + border, base + total
        self._open = {
            slot: self._open.get(slot, 0) + 1
            for slot in range(base, total)
            if self._held[slot] is None and self.cache.kept(slot) is not None
        }
        for sequence in foreground:
            if not base <= sequence.slot < border:
                self._settle(sequence, base, border, total)
        for sequence in background:
            if not border <= sequence.slot < total:
                self._settle(sequence, border, total, total)

    def _lowest(self) -> int:
        return next((slot for slot, held in enumerate(self._held) if held is not None), 0)

    def _range(self, sequence: Sequence, match: Match | None) -> tuple[int, int, int]:
        """In which slots a newcomer should be, and the end of all: they are consecutive then."""
        held = [s for s in self._held if s is not None]
        above = sum(not s.background for s in held)
        total = len(held) + 1
        if not held:
            self._base = self._quiet(match)
        elif match is not None and match.whole and match.entry.slot == self._base - 1:
            self._base -= not sequence.background
        self._base = base = max(0, min(self._base, self.size - total))
        if sequence.background:
            return base + above, base + total, base + total
        return base, base + above + 1, base + total

    def _quiet(self, match: Match | None) -> int:
        """Where the first sequence disturbs least what is kept."""
        if match is not None and match.whole:
            return match.entry.slot
        empty = self._empty()
        if empty is not None:
            return empty
        victim = self.cache.victim(() if match is None else (match.entry,))
        return 0 if victim is None else victim.slot

    def _settle(self, sequence: Sequence, low: int, high: int, total: int) -> None:
        """Put a running sequence into [low, high) if there is place, or can be made."""
        hole = self._hole(low, high)
        patience = _PATIENCE if self.cache.continuing else 0
        if hole is not None and self._open.get(hole, _PATIENCE + 1) <= patience:
            return
        target = self._free(sequence, low, high, total, ())
        if target >= 0:
            self._vacate(target, ())
            self._put(sequence, target)

    def _free(
        self, sequence: Sequence, low: int, high: int, total: int, spared: Many[Entry]
    ) -> int:
        """A slot that no sequence holds: in [low, high) if there is one, or can be made.

        For that a background sequence is moved out. -1: it has a slot, and there is none better.
        """
        target = self._hole(low, high)
        if target is not None:
            return target
        target = self._hole(self._base, total)
        if target is None:
            target = self._hole(0, self.size)
        if target is None:
            return -1
        other = next(
            (s for s in self._held[low:high] if s is not None and s.class_ > sequence.class_), None
        )
        if not sequence.background and other is not None and self._vacate(target, spared):
            freed = other.slot
            self._put(other, target)
            return freed
        return -1 if self._base <= sequence.slot < total else target

    def _hole(self, low: int, high: int) -> int | None:
        """A slot that no sequence holds: an empty one, or where the oldest memory is."""
        holes = [s for s in range(low, min(high, self.size)) if self._held[s] is None]
        return min(holes, key=self._age, default=None)

    def _age(self, slot: int) -> int:
        entry = self.cache.at(slot)
        return -1 if entry is None else entry.used

    def _put(self, sequence: Sequence, target: int) -> None:
        """Move a running sequence to an empty slot."""
        self._held[sequence.slot] = None
        self._held[target] = sequence
        self._moves.append(Move(sequence.slot, target))
        self.cache.moved(sequence.slot, target)
        sequence.slot = target

    # what is kept

    def _vacate(self, slot: int, spared: Many[Entry]) -> bool:
        """Empty a slot that no sequence holds, unless what it holds is spared and has no refuge."""
        entry = self.cache.at(slot)
        if entry is None:
            return True
        refuge = None
        if entry in spared:
            refuge = self._refuge(spared)
            if refuge is None:
                return False
        elif entry.count >= self.cache.copy_least:
            last = self.cache.victim(spared) is entry
            refuge = self._empty() if last else self._refuge((*spared, entry))
        if refuge is None:
            self._clear(slot)
        else:
            self._moves.append(Move(slot, refuge))
            self.cache.moved(slot, refuge)
        return True

    def _refuge(self, spared: Many[Entry]) -> int | None:
        """An empty slot; one is made by giving up what is needed least, except what is spared."""
        empty = self._empty()
        victim = self.cache.victim(spared)
        if empty is not None or victim is None:
            return empty
        self._clear(victim.slot)
        return victim.slot

    def _empty(self) -> int | None:
        return next(
            (s for s in range(self.size) if self._held[s] is None and self.cache.at(s) is None),
            None,
        )

    def _clear(self, slot: int) -> None:
        self._moves.append(Move(-1, slot))
        self.cache.drop(slot)
