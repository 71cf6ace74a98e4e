"""What is known of prompts that were scored: another that begins alike is scored from there on.

Evaluation harnesses send a context again with each of its answers. The figures of a token depend on
those before it alone, so that only what comes after the common beginning needs logits, and the rest
may come from the memory of an earlier sequence. Scopes never meet, as in `prefix_cache`. Pure;
imported by the worker.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from engine.serving import prefix_cache, wire
from engine.serving.sequences import Sequence

FIGURES_MOST: Final = 1 << 17
"""Log-probabilities that are kept, alternatives included: some 20 MiB."""
_ENTRIES_MOST: Final = 64
LEAST: Final = 16
"""Fewer tokens are not worth remembering."""


class Figures(NamedTuple):
    """Of each token of a prompt after the first; as `generation.Scoring` has them."""

    logprobs: list[float]
    top: list[bool]
    likely: list[tuple[wire.Logprob, ...]]


class Scored(Protocol):
    """A scoring that is complete; `whole`: of a prompt."""

    sequence: Sequence
    tokens: list[int]
    alternatives: int
    whole: bool

    @property
    def figures(self) -> Figures:
        """What was scored."""


class _Entry(NamedTuple):
    figures: Figures
    alternatives: int

    @property
    def size(self) -> int:
        return len(self.figures.logprobs) * (1 + self.alternatives)


class ScoredPrompts:
    """The latest ones of one worker."""

    def __init__(self) -> None:
        """None yet."""
        self._entries: OrderedDict[tuple[str, str, bytes], _Entry] = OrderedDict()
        self._size = 0

    def remember(self, scored: Iterable[Scored], *, reuse: bool) -> None:
        """Some were scored; without `reuse` they are forgotten at once."""
        for each in scored:
            if each.whole and reuse:
                self.keep(each.sequence, each.tokens, each.alternatives, each.figures)

    def keep(
        self, sequence: Sequence, tokens: list[int], alternatives: int, figures: Figures
    ) -> None:
        """A prompt was scored; what was used longest ago is forgotten for it."""
        entry = _Entry(figures, alternatives)
        if len(tokens) < LEAST or entry.size > FIGURES_MOST:
            return
        key = sequence.adapter, sequence.scope, prefix_cache.pack(tokens)
        before = self._entries.get(key)
        if before is not None and before.alternatives > alternatives:
            return
        self._drop(key)
        self._entries[key] = entry
        self._size += entry.size
        while self._size > FIGURES_MOST or len(self._entries) > _ENTRIES_MOST:
            self._drop(next(iter(self._entries)))

    def find(self, sequence: Sequence, tokens: list[int], alternatives: int) -> Figures:
        """What is known of the first tokens of a prompt, with so many alternatives each."""
        packed = prefix_cache.pack(tokens)
        found, alike = None, 0
        for key, entry in self._entries.items():
            if key[:2] == (sequence.adapter, sequence.scope) and entry.alternatives >= alternatives:
                count = prefix_cache.common(packed, key[2], len(tokens))
                if count > alike:
                    found, alike = key, count
        if found is None or alike < LEAST:
            return Figures([], [], [])
        self._entries.move_to_end(found)
        known, figures = alike - 1, self._entries[found].figures
        return Figures(
            figures.logprobs[:known],
            figures.top[:known],
            [likely[:alternatives] for likely in figures.likely[:known]],
        )

    def forget(self, adapter: str) -> None:
        """An adapter is no longer loaded."""
        for key in [key for key in self._entries if key[0] == adapter]:
            self._drop(key)

    def _drop(self, key: tuple[str, str, bytes]) -> None:
        entry = self._entries.pop(key, None)
        self._size -= 0 if entry is None else entry.size
