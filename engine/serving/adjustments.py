"""What changes a row's logits before a token is drawn: bias, penalties, a minimum length.

In the order of vLLM and llama.cpp: first the bias is added, then penalties apply, then what may not
come yet is excluded. All of it is sparse: a row costs as much as it has distinct tokens to change,
and the rows of a step are changed together. Draws nothing. Imports NumPy and the frames. Imported
by `generation` and `step_io`.

- Repetition: Keskar et al. 2019, "CTRL"; positive logits are divided, the others multiplied.
- Frequency and presence: OpenAI's, subtracted once per earlier use and once for any use.

By default frequency and presence count generated tokens, as OpenAI and vLLM do, and repetition sees
the prompt, too, as vLLM does. With `repeat_last_n` all three see the last n tokens of prompt and
completion, as llama.cpp does; 0 turns them off and -1 takes all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from engine.serving import wire
from engine.serving.sampling import Floats, Ints

_ROOM: Final = 64
_Array = TypeVar("_Array", bound=npt.NDArray[np.generic])


class Tally(NamedTuple):
    """The distinct tokens of a text, how often each occurs, and the place of each in here."""

    tokens: Ints
    counts: Floats
    places: dict[int, int]


Tallied = Callable[[int], Tally]
"""Tells the tally of a prompt within a window; the sequences of a request share it."""


def tally(tokens: Sequence[int], window: int = -1) -> Tally:
    """What occurs among the last `window` tokens, -1 for all."""
    distinct, counts = np.unique(np.array(_last(tokens, window), np.int64), return_counts=True)
    places = {token: place for place, token in enumerate(distinct.tolist())}
    return Tally(distinct, counts.astype(np.float32), places)


def _last(tokens: Sequence[int], window: int) -> Sequence[int]:
    return tokens if window < 0 else tokens[max(0, len(tokens) - window) :]


class Counts:
    """How often each token occurs among those pushed, or among the last `window` of them."""

    __slots__ = ("_counts", "_last", "_places", "_size", "_tokens")

    def __init__(
        self, tokens: Sequence[int] = (), window: int = -1, known: Tally | None = None
    ) -> None:
        """Begin with `tokens`; a window of -1 forgets nothing. `known` is their tally."""
        self._last = None if window < 0 else deque(_last(tokens, window), maxlen=window)
        begun = known or tally(tokens, window)
        self._size = len(begun.tokens)
        room = max(_ROOM, 2 * self._size)
        self._tokens = _grown(begun.tokens, room)
        self._counts = _grown(begun.counts, room)
        self._places = begun.places.copy()

    @property
    def tokens(self) -> Ints:
        """The distinct tokens, in no order."""
        return self._tokens[: self._size]

    @property
    def counts(self) -> Floats:
        """How often each of `tokens` occurs."""
        return self._counts[: self._size]

    def push(self, token: int) -> None:
        """Count one more; what leaves the window is forgotten."""
        last = self._last
        if last is not None:
            if last.maxlen == 0:
                return
            if len(last) == last.maxlen:
                self._forget(last[0])
            last.append(token)
        place = self._places.get(token)
        if place is None:
            place = self._places[token] = self._size
            if place == len(self._tokens):
                self._tokens = _grown(self._tokens, 2 * place)
                self._counts = _grown(self._counts, 2 * place)
            self._tokens[place] = token
            self._counts[place] = 0
            self._size += 1
        self._counts[place] += 1

    def _forget(self, token: int) -> None:
        place = self._places[token]
        self._counts[place] -= 1
        if self._counts[place]:
            return
        del self._places[token]
        self._size -= 1
        if place < self._size:  # the last one takes its place
            moved = int(self._tokens[self._size])
            self._tokens[place] = moved
            self._counts[place] = self._counts[self._size]
            self._places[moved] = place


def _grown(array: _Array, room: int) -> _Array:
    larger = np.zeros(room, array.dtype)
    larger[: len(array)] = array
    return larger  # type: ignore[return-value, unused-ignore]


class Adjustment:
    """What changes the logits of one sequence. Made by `of`, which gives none to most."""

    __slots__ = (
        "bias", "biased", "counted", "ends", "frequency", "generated", "ignored", "min_tokens",
        "presence", "repeated", "repetition",
    )  # fmt: skip

    def __init__(
        self,
        sampling: wire.Sampling,
        prompt: Sequence[int],
        stops: Collection[int],
        model_ends: Collection[int],
        tallied: Tallied | None = None,
    ) -> None:
        """`stops` and `model_ends` are the tokens that would end the sequence.

        `tallied` is asked for the tally of the prompt within a window.
        """
        self.biased = np.array([token for token, _ in sampling.logit_bias], np.int64)
        self.bias = np.array([bias for _, bias in sampling.logit_bias], np.float32)
        self.repetition = sampling.repetition_penalty
        self.frequency = sampling.frequency_penalty
        self.presence = sampling.presence_penalty
        window = sampling.repeat_last_n
        repeats = self.repetition != 1
        counts = bool(self.frequency or self.presence)
        within = -1 if window is None else window
        known = tallied(within) if tallied and (repeats or window is not None) else None
        self.repeated = Counts(prompt, within, known) if repeats else None
        self.counted: Counts | None = None
        if counts and window is not None:
            self.counted = self.repeated or Counts(prompt, within, known)
        elif counts:
            self.counted = Counts()
        self.min_tokens = sampling.min_tokens
        self.ends = np.array(sorted({*stops, *model_ends}), np.int64)
        self.ignored = np.array(sorted(model_ends) if sampling.ignore_eos else [], np.int64)
        self.generated = 0

    def push(self, token: int) -> None:
        """The sequence has one more token."""
        self.generated += 1
        if self.repeated is not None:
            self.repeated.push(token)
        if self.counted is not None and self.counted is not self.repeated:
            self.counted.push(token)

    @property
    def excluded(self) -> Ints:
        """The ends that the next token may not be."""
        return self.ends if self.generated < self.min_tokens else self.ignored

    def end(self) -> None:
        """Let the next token be any end: the text is complete and cannot be longer."""
        self.min_tokens = 0
        self.ignored = self.ignored[:0]


def of(
    sampling: wire.Sampling,
    prompt: Sequence[int],
    stops: Collection[int],
    model_ends: Collection[int],
    tallied: Tallied | None = None,
) -> Adjustment | None:
    """What changes a sequence's logits; None where nothing does. As `Adjustment`."""
    penalties = (sampling.frequency_penalty, sampling.presence_penalty)
    if sampling.logit_bias or sampling.min_tokens > 0 or sampling.ignore_eos:
        return Adjustment(sampling, prompt, stops, model_ends, tallied)
    if (sampling.repetition_penalty != 1 or any(penalties)) and sampling.repeat_last_n != 0:
        return Adjustment(sampling, prompt, stops, model_ends, tallied)
    return None


def apply(logits: Floats, rows: Sequence[tuple[int, Adjustment]]) -> None:
    """Change rows of logits (B, V) in place; each by its place and adjustment."""
    flat = logits.reshape(-1)
    width = logits.shape[1]
    biased = [(place, row) for place, row in rows if len(row.biased)]
    if biased:
        flat[_at(biased, width, lambda row: row.biased)] += _joined(row.bias for _, row in biased)
    repeated = [(place, row, row.repeated) for place, row in rows if row.repeated is not None]
    if repeated:
        at = _joined(seen.tokens + place * width for place, _, seen in repeated)
        by = _joined(
            np.full(len(seen.tokens), row.repetition, np.float32) for _, row, seen in repeated
        )
        values = flat[at]
        flat[at] = np.where(values > 0, values / by, values * by)
    counted = [(place, row, row.counted) for place, row in rows if row.counted is not None]
    if counted:
        at = _joined(seen.tokens + place * width for place, _, seen in counted)
        flat[at] -= _joined(
            seen.counts * np.float32(row.frequency) + np.float32(row.presence)
            for _, row, seen in counted
        )
    short = [(place, row) for place, row in rows if len(row.excluded)]
    if short:
        flat[_at(short, width, lambda row: row.excluded)] = -np.inf


def _at(
    rows: Sequence[tuple[int, Adjustment]], width: int, tokens: Callable[[Adjustment], Ints]
) -> Ints:
    return _joined(tokens(row) + place * width for place, row in rows)


def _joined(arrays: Iterable[_Array]) -> _Array:
    return np.concatenate(list(arrays))  # type: ignore[return-value, unused-ignore]
