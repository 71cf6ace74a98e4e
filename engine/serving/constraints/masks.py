"""One sequence's place in its grammar, and the masks of a whole step, computed beside it.

The mask of a token depends on the tokens before it alone, so it is computed while libllama computes
the logits; llguidance does that for all sequences in parallel, without the GIL. Imported by the
worker and what it fills its batch with.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Collection, Sequence
from typing import Final

import llguidance
import llguidance.numpy
import numpy as np

from engine.serving.constraints import grammars
from engine.serving.sampling import Floats

_BYTES: Final = np.arange(256, dtype=np.uint8)[:, None]
_ADDED: Final = np.where(
    np.unpackbits(_BYTES, axis=1, bitorder="little") == 1, np.float32(0), np.float32(-np.inf)
)
"""What a byte of a mask adds to the logits of its eight tokens."""


class Matcher:
    """Where one sequence is in its grammar.

    `fault` is why it cannot go on, empty while it can. `opening` is a token that may come instead
    of the first one; what follows it is free until `after`.
    """

    __slots__ = ("_after", "_tail", "active", "fault", "inner", "opening")

    def __init__(
        self, compiled: llguidance.LLMatcher, after: str = "", opening: int | None = None
    ) -> None:
        """At the beginning, `active` from now on or `after` a text; `compiled` is not changed."""
        self.opening = opening
        self.inner = compiled.deep_copy()
        self.fault = ""
        self._after = after.strip().encode()
        self._tail = b""
        self.active = not self._after or opening is not None

    def push(self, token: int, raw: bytes) -> None:
        """Take a sampled token and its bytes, those of a control token included."""
        opening, self.opening = self.opening, None
        if token == opening:
            self.active = False
        elif not self.active:
            self._tail = (self._tail + raw)[-len(self._after) - len(raw) :]
            self.active = self._after in self._tail
        elif not self.inner.consume_token(token):
            self.fault = grammars.reason(self.inner)

    def complete(self) -> bool:
        """Whether nothing but the end can follow."""
        return not self.fault and self.inner.is_stopped()


class Masks:
    """The masks of one step at a time, over a vocabulary of so many tokens."""

    def __init__(self, vocabulary: int, sequences: int) -> None:
        self._vocabulary = vocabulary
        self._words = llguidance.numpy.allocate_token_bitmask(sequences, vocabulary)
        self._biases = np.empty((0, self._words.shape[1] * 4, 8), np.float32)
        self._executor = llguidance.LLExecutor()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="masks")
        self._filling: concurrent.futures.Future[None] | None = None
        self._matchers: list[Matcher] = []

    def begin(self, matchers: Sequence[Matcher]) -> None:
        """Compute the masks of these, in this order, until `apply`; at most one per sequence."""
        self._wait()
        self._matchers = list(matchers)
        if matchers:
            self._filling = self._thread.submit(self._fill, [each.inner for each in matchers])

    def apply(self, logits: Floats, places: Sequence[int]) -> None:
        """Exclude what may not follow from rows of logits (B, V), in place.

        `places` are those of the matchers of `begin`. A matcher that allows nothing gets a fault.
        """
        self._wait()
        for row, (matcher, place) in enumerate(zip(self._matchers, places, strict=True)):
            if matcher.inner.is_error():
                matcher.fault = grammars.reason(matcher.inner)
            elif not self._words[row].any():
                matcher.fault = "no token of the model's vocabulary continues it"
            else:
                opening = matcher.opening
                kept = None if opening is None else logits[place, opening]
                logits[place] += self._biases[row].reshape(-1)[: self._vocabulary]
                if kept is not None:
                    logits[place, opening] = kept

    def ends_here(self, matcher: Matcher, ends: Collection[int]) -> bool:
        """Whether only one of `ends` may follow; ask between `apply` and the next `begin`."""
        words = self._words[self._matchers.index(matcher)]
        allowed = np.unpackbits(words.view(np.uint8), bitorder="little")
        return bool(np.count_nonzero(allowed) == np.count_nonzero(allowed[list(ends)]))

    def _wait(self) -> None:
        if self._filling is not None:
            filling, self._filling = self._filling, None
            filling.result()

    def _fill(self, matchers: list[llguidance.LLMatcher]) -> None:
        """Compute the masks, and what they add to the logits: the addition is all that is left."""
        rows = [(matcher, row) for row, matcher in enumerate(matchers)]
        llguidance.numpy.fill_next_token_bitmask_par(self._executor, rows, self._words)
        if len(rows) > len(self._biases):
            self._biases = np.empty((len(rows), *self._biases.shape[1:]), np.float32)
        for row in range(len(rows)):
            allowed = self._words[row].view(np.uint8)
            np.take(_ADDED, allowed, axis=0, out=self._biases[row], mode="clip")
