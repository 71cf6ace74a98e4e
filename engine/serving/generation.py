"""What the worker keeps of a sequence besides its slot: its tokens, its text, how it is sampled.

Knows nothing of slots or steps. Imported by the worker and `step_io`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec
import numpy as np

from engine.serving import adjustments, detokenise, wire
from engine.serving import sequences as scheduled
from engine.serving.constraints.masks import Matcher
from engine.serving.scored_prompts import Figures
from engine.serving.thinking import ThinkingLimit

_SEED_MASK = (1 << 64) - 1

Least = Callable[[Iterable[tuple[str, bool]], int], int]
"""Tells how many tokens (text, special) segments have at least, as far as that matters."""


class Prompts:
    """Tokenises prompts; what the sequences of a request share is found out only once."""

    def __init__(self, tokenise: Callable[[Iterable[tuple[str, bool]]], list[int]]) -> None:
        """`tokenise` takes (text, special) segments."""
        self._tokenise = tokenise
        self._last: tuple[wire.Segment, ...] | None = None
        self._tokens: list[int] = []
        self._tallies: dict[int, adjustments.Tally] = {}
        self._checked: tuple[wire.Segment, ...] | None = None
        self._unknown: tuple[int, int] | None = None
        self._measured: tuple[wire.Segment, ...] | None = None
        self._least = 0

    def tokens(self, prompt: tuple[wire.Segment, ...]) -> list[int]:
        """The prompt's tokens, as a list of the caller's own."""
        self._read(prompt)
        return self._tokens.copy()

    def tally(self, prompt: tuple[wire.Segment, ...], window: int) -> adjustments.Tally:
        """What occurs among the last tokens of a prompt, `window` of them, -1 for all."""
        self._read(prompt)
        found = self._tallies.get(window)
        if found is None:
            found = self._tallies[window] = adjustments.tally(self._tokens, window)
        return found

    def least(self, prompt: tuple[wire.Segment, ...], most: int, counted: Least) -> int:
        """A number of tokens that a prompt's texts have at least, as `Vocabulary.least` tells."""
        if prompt is not self._measured:
            self._least = counted([(s.text, s.special) for s in prompt], most)
            self._measured = prompt
        return self._least

    def unknown(self, prompt: tuple[wire.Segment, ...], size: int) -> tuple[int, int] | None:
        """The first token that was given and is not in a vocabulary of `size`, and its place."""
        if prompt is not self._checked:
            given = (token for segment in prompt for token in segment.tokens)
            places = ((token, at) for at, token in enumerate(given) if not 0 <= token < size)
            self._checked, self._unknown = prompt, next(places, None)
        return self._unknown

    def _read(self, prompt: tuple[wire.Segment, ...]) -> None:
        if prompt is not self._last:
            given = [token for segment in prompt for token in segment.tokens]
            self._tokens = given or self._tokenise((s.text, s.special) for s in prompt)
            self._last = prompt
            self._tallies = {}


class Generation:
    """A sequence that is generated.

    `tokens` are all known ones, the prompt's first. `ends` end it besides the model's own; they are
    stop strings that are control tokens. `adjustment` changes its logits and `matcher` says what
    may follow, both None for most. `shown` are control tokens that belong to the text, and
    `thinking` bounds its reasoning.
    """

    __slots__ = (
        "adjustment",
        "end_logprob",
        "ends",
        "logprobs",
        "matcher",
        "min_p",
        "seed",
        "sequence",
        "shown",
        "temperature",
        "text",
        "thinking",
        "tokens",
        "top_k",
        "top_p",
    )

    def __init__(
        self,
        sequence: scheduled.Sequence,
        submit: wire.Submit,
        tokens: list[int],
        ends: Mapping[int, str] = MappingProxyType({}),
        model_ends: Collection[int] = (),
        tallied: adjustments.Tallied | None = None,
    ) -> None:
        """Start with the prompt's tokens, of which `tallied` tells the tally."""
        self.sequence = sequence
        self.tokens = tokens
        self.adjustment = adjustments.of(submit.sampling, tokens, ends, model_ends, tallied)
        self.text = detokenise.Detokeniser(submit.stop)
        self.text.stops = submit.sampling.min_tokens <= 0
        self.matcher: Matcher | None = None
        self.ends = ends
        self.shown: frozenset[int] = frozenset()
        self.thinking: ThinkingLimit | None = None
        self.logprobs = submit.logprobs
        self.end_logprob = submit.end_logprob
        self.temperature = _single(submit.sampling.temperature)
        self.top_k = submit.sampling.top_k
        self.top_p = _single(submit.sampling.top_p)
        self.min_p = _single(submit.sampling.min_p)
        self.seed = submit.sampling.seed & _SEED_MASK

    @property
    def stop(self) -> str:
        """The stop string that ended it, "" while none did."""
        return self.text.stop or self.ends.get(self.tokens[-1], "")

    def push(self, token: int) -> None:
        """Take a sampled token."""
        self.tokens.append(token)
        adjustment = self.adjustment
        if adjustment is not None:
            adjustment.push(token)
            self.text.stops = adjustment.generated > adjustment.min_tokens


def _single(value: float) -> float:
    """Rounded to single precision, as many rows are sampled: one alone is drawn no differently."""
    return float(np.float32(value))


class Scoring:
    """A continuation that is scored.

    `tokens` are the prompt's and the continuation's; the last one is never computed. `logprobs`,
    `top` (whether it is the most likely one) and the `likely` alternatives belong to the
    continuation's tokens, as far as they were scored. `whole`: a prompt is scored, and what counts
    as its continuation are all tokens after the first.
    """

    __slots__ = (
        "alternatives",
        "likely",
        "logprobs",
        "sequence",
        "tokens",
        "top",
        "whole",
    )

    def __init__(
        self,
        sequence: scheduled.Sequence,
        prompt: Sequence[int],
        continuation: Sequence[int],
        *,
        whole: bool = False,
        alternatives: int = 0,
    ) -> None:
        """Nothing is scored yet."""
        self.sequence = sequence
        self.tokens = [*prompt, *continuation]
        self.whole = whole
        self.alternatives = alternatives
        self.logprobs = [0.0] * len(continuation)
        self.top = [False] * len(continuation)
        self.likely: list[tuple[wire.Logprob, ...]] = [()] * len(continuation)

    @property
    def prompt_tokens(self) -> int:
        """How many tokens come before the continuation."""
        return len(self.tokens) - len(self.logprobs)

    def targets(self, end: int, count: int) -> list[int]:
        """The tokens whose probabilities the logits of the `count` positions before `end` give."""
        return self.tokens[end - count + 1 : end + 1]

    def take(
        self,
        end: int,
        logprobs: Sequence[float],
        top: Sequence[bool],
        likely: Sequence[tuple[wire.Logprob, ...]] = (),
    ) -> None:
        """Keep those of `targets(end, len(logprobs))`."""
        first = end - len(logprobs) + 1 - self.prompt_tokens
        self.logprobs[first : first + len(logprobs)] = logprobs
        self.top[first : first + len(top)] = top
        self.likely[first : first + len(likely)] = likely

    @property
    def figures(self) -> Figures:
        """What was scored, for prompts that begin alike."""
        return Figures(self.logprobs, self.top, self.likely)

    def know(self, figures: Figures) -> None:
        """Take what is known of the first tokens; at least the last one is left to score."""
        known = min(len(figures.logprobs), len(self.logprobs) - 1)
        self.logprobs[:known] = figures.logprobs[:known]
        self.top[:known] = figures.top[:known]
        self.likely[:known] = figures.likely[:known]
        self.sequence.scored = len(self.logprobs) - known

    def scored(
        self, raw: Callable[[int], bytes], hidden: Callable[[int], bool] = lambda _: False
    ) -> wire.Scored:
        """The result; `raw` gives a token's bytes, `hidden` says whether text does not show it."""
        s = self.sequence
        tokens = self.tokens[self.prompt_tokens :]
        found = wire.Scored(
            id=s.id,
            tokens=tuple(
                wire.Logprob(raw(token), logprob, token)
                for token, logprob in zip(tokens, self.logprobs, strict=True)
            ),
            prompt_tokens=self.prompt_tokens,
            queue_us=queue_us(s),
            busy_us=s.busy_us,
            top_tokens=sum(self.top),
            top=tuple(self.likely) if self.alternatives else (),
            cached_tokens=max(s.cached, 0),
        )
        if not self.whole:
            return found
        return msgspec.structs.replace(
            found,
            prompt_tokens=len(self.tokens),
            first=raw(self.tokens[0]),
            first_token=self.tokens[0],
            hidden=tuple(place for place, token in enumerate(self.tokens) if hidden(token)),
        )


def finished(work: Generation | Scoring, reason: str) -> wire.Finished:
    """How a sequence ended."""
    s = work.sequence
    return wire.Finished(
        id=s.id,
        reason=reason,
        prompt_tokens=work.prompt_tokens if isinstance(work, Scoring) else s.prompt_tokens,
        completion_tokens=s.completion_tokens,
        queue_us=queue_us(s),
        ttft_us=s.first_us - s.arrived_us if s.first_us >= 0 else 0,
        busy_us=s.busy_us,
        stop=work.stop if isinstance(work, Generation) and reason == "stop" else "",
        cached_tokens=max(s.cached, 0),
    )


def queue_us(sequence: scheduled.Sequence) -> int:
    """The wait before its first computation."""
    return sequence.started_us - sequence.arrived_us if sequence.started_us >= 0 else 0
