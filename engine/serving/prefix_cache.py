"""The token prefixes in the KV memory of one context: the longest match, and what is evicted.

A sequence that ended leaves its memory in its slot until the slot is needed. A new sequence begins
from the entry, ended or running, that shares most of its tokens. Entries of different scopes never
meet: a service that tells its tenants apart gives each a scope, so that neither the time of an
answer nor its count of cached tokens says what another tenant asked. Evicted first is what was used
longest ago; last the only copy of a prefix at which several sequences diverged, as they do after a
system prompt.

With at most 256 slots comparing with each entry takes less time than keeping a tree: an entry that
cannot match better is dismissed by one comparison.

Decides nothing about slots. Pure; imports the standard library only. Imported by `slots`.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from engine.serving.sequences import Sequence, State

COPY_LEAST: Final = 16
"""Fewer tokens are computed faster than a slot is copied; each 512 of context add one."""
WAIT_LEAST: Final = 32
"""A sequence waits for another that is computing at least so many tokens of its prompt."""
_NEAR: Final = 16
"""Sequences that diverge within so many tokens share one prefix."""
_FORKS: Final = 2
"""A prefix at which so many sequences diverged is evicted last."""
_RECENT: Final = 0.1
_HALF: Final = 0.5
_BYTES: Final = 4


def pack(tokens: Iterable[int]) -> bytes:
    """Tokens in a form that is quickly compared."""
    return array("i", tokens).tobytes()


def common(one: bytes, other: bytes, most: int) -> int:
    """With how many tokens, `most` at the most, two packed sequences begin alike."""
    most = min(most, len(one) // _BYTES, len(other) // _BYTES)
    if one[: most * _BYTES] == other[: most * _BYTES]:
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        part = slice(low * _BYTES, middle * _BYTES)
        if one[part] == other[part]:
            low = middle
        else:
            high = middle
    return low


@dataclass(slots=True, eq=False)
class Entry:
    """The memory of one slot.

    `tokens` are packed. `sequence` is set while it runs, and then only what is resident of it
    counts. `used` orders entries by their last use. `forks` sequences diverged after `prefix`
    tokens, or a few more.
    """

    tokens: bytes
    scope: str
    slot: int
    used: int = 0
    sequence: Sequence | None = None
    prefix: int = 0
    forks: int = 0

    @property
    def count(self) -> int:
        """How many of the tokens are in memory."""
        known = len(self.tokens) // _BYTES
        return known if self.sequence is None else min(known, self.sequence.resident)

    def forked(self, tokens: int) -> None:
        """Another sequence diverged after so many of the tokens."""
        if self.forks and abs(tokens - self.prefix) <= _NEAR:
            self.prefix, self.forks = min(tokens, self.prefix), self.forks + 1
        elif tokens < self.prefix or self.forks < _FORKS:
            self.prefix, self.forks = tokens, 1


class Match(NamedTuple):
    """The first `tokens` of a sequence are in the memory of `entry`.

    `whole`: nobody needs the rest of that memory, so the sequence may take it over.
    """

    entry: Entry
    tokens: int
    whole: bool


class PrefixCache:
    """The entries of one context, by slot.

    `cuts`: the memory of a sequence can be cut at any token. Where it cannot (recurrent models, a
    sliding window) an entry is of use only as a whole.
    """

    def __init__(self, sequence_tokens: int, *, cuts: bool = True) -> None:
        """Empty; a slot holds `sequence_tokens`."""
        self.cuts = cuts
        self.copy_least = COPY_LEAST + sequence_tokens // 512
        self._entries: dict[int, Entry] = {}
        self._uses = 0
        self._continued = 0.0

    @property
    def continuing(self) -> bool:
        """Whether most sequences took over the memory of one that ended, lately."""
        return self._continued > _HALF

    @property
    def entries(self) -> Iterable[Entry]:
        """All of them."""
        return self._entries.values()

    def at(self, slot: int) -> Entry | None:
        """The memory of a slot; None if it is empty."""
        return self._entries.get(slot)

    def kept(self, slot: int) -> Entry | None:
        """What an ended sequence left in a slot."""
        entry = self._entries.get(slot)
        return None if entry is None or entry.sequence is not None else entry

    # what is there

    def hold(self, sequence: Sequence, match: Match | None = None) -> None:
        """A sequence runs in its slot, and began from `match`."""
        self._uses += 1
        entry = Entry(pack(sequence.tokens), sequence.scope, sequence.slot, self._uses, sequence)
        took_over = match is not None and match.whole
        self._continued += _RECENT * (took_over - self._continued)
        if match is not None:
            source = match.entry
            source.used = self._uses
            twin = source.sequence is not None and source.sequence.request == sequence.request
            if match.tokens < source.count and not twin:
                source.forked(match.tokens)
            if source.prefix <= match.tokens:
                entry.prefix, entry.forks = source.prefix, source.forks
        self._entries[sequence.slot] = entry

    def keep(self, sequence: Sequence) -> bool:
        """A sequence ended; return whether its memory is worth keeping."""
        entry = self._entries.pop(sequence.slot)
        count = min(sequence.resident, len(sequence.tokens))
        if count < COPY_LEAST or count < sequence.resident:
            return False
        self._uses += 1
        entry.tokens = pack(sequence.tokens[:count])
        entry.sequence, entry.used = None, self._uses
        self._entries[sequence.slot] = entry
        return True

    def moved(self, source: int, target: int) -> None:
        """The memory of a slot is in another one now."""
        entry = self._entries.pop(source, None)
        if entry is not None:
            entry.slot = target
            self._entries[target] = entry

    def drop(self, slot: int) -> None:
        """The memory of a slot was given up."""
        self._entries.pop(slot, None)

    # what a sequence finds

    def find(self, sequence: Sequence) -> Match | None:
        """From what a sequence should begin; None: from nothing.

        At least one of its tokens is left to compute, or all whose logits are wanted.
        """
        tokens = pack(sequence.tokens)
        most = _reusable(sequence)
        best: Match | None = None
        gain = 0
        for entry in self._matching(tokens, sequence.scope):
            count = entry.count
            if not self.cuts and (entry.sequence is not None or count > most):
                continue
            alike = common(tokens, entry.tokens, min(most, count))
            if not self.cuts and alike < count:
                continue
            whole = entry.sequence is None and 2 * alike >= count
            worth = alike if whole else alike - self.copy_least
            if worth > gain or (worth == gain and best is not None and _older(entry, best.entry)):
                best, gain = Match(entry, alike, whole), worth
        return best if gain > 0 else None

    def leader(self, sequence: Sequence, beyond: int) -> tuple[Sequence, int] | None:
        """A running sequence that is computing more of the prompt than the `beyond` that are there.

        With the number of tokens to wait for. Only of the same tenant and of no lower class: others
        may be given less time.
        """
        if not self.cuts:
            return None
        tokens = pack(sequence.tokens)
        most = _reusable(sequence)
        best: tuple[Sequence, int] | None = None
        for entry in self._matching(tokens, sequence.scope):
            other = entry.sequence
            if (
                other is None
                or other is sequence
                or other.decoding
                or other.tenant != sequence.tenant
                or other.class_ > sequence.class_
            ):
                continue
            alike = common(tokens, entry.tokens, most)
            if other.resident < alike and alike >= beyond + WAIT_LEAST:
                best, beyond = (other, alike), alike
        return best

    def _matching(self, tokens: bytes, scope: str) -> Iterator[Entry]:
        first = tokens[:_BYTES]
        for entry in self._entries.values():
            if entry.scope == scope and entry.tokens[:_BYTES] == first:
                yield entry

    # what goes

    def victim(self, spared: Collection[Entry] = ()) -> Entry | None:
        """What an ended sequence left that is needed least; None if there is nothing."""
        kept = [e for e in self._entries.values() if e.sequence is None and e not in spared]
        kept.sort(key=lambda entry: entry.used)
        return next((e for e in kept if not self._last_copy(e)), kept[0] if kept else None)

    def _last_copy(self, entry: Entry) -> bool:
        """Whether it is the only one with a prefix at which several sequences diverged."""
        if entry.forks < _FORKS:
            return False
        prefix = entry.tokens[: entry.prefix * _BYTES]
        return not any(
            other is not entry
            and other.scope == entry.scope
            and other.count >= entry.prefix
            and other.tokens.startswith(prefix)
            for other in self._entries.values()
        )


def _reusable(sequence: Sequence) -> int:
    """How many tokens of a sequence need no logits."""
    known = sequence.prompt_tokens + sequence.completion_tokens
    return max(0, min(known - max(1, sequence.scored), len(sequence.tokens) - 1))


def _older(one: Entry, other: Entry) -> bool:
    return one.used < other.used


def waits(sequence: Sequence) -> bool:
    """Whether what a sequence waits for is still being computed."""
    if sequence.awaits is None:
        return False
    leader, tokens = sequence.awaits
    return leader.state is State.RUNNING and leader.resident < tokens
