"""A sequence's own things in the worker: its tokens, its text as it grows, how it is drawn.

Knows nothing of slots or steps. Imported by the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.serving import detokenise, wire
from engine.serving.sequences import Sequence

_SEED_MASK = (1 << 64) - 1


class Prompts:
    """Tokenises prompts; one that the sequences of a request share, which come together, once."""

    def __init__(self, tokenise: Callable[[Iterable[tuple[str, bool]]], list[int]]) -> None:
        """Nothing was read yet; `tokenise` takes (text, special) pieces."""
        self._tokenise = tokenise
        self._last: tuple[wire.Segment, ...] | None = None
        self._tokens: list[int] = []

    def tokens(self, prompt: tuple[wire.Segment, ...]) -> list[int]:
        """The prompt's tokens, for the caller alone."""
        if prompt is not self._last:
            self._tokens = self._tokenise((s.text, s.special) for s in prompt)
            self._last = prompt
        return self._tokens.copy()


class Stream:
    """What the scheduler must not know of a sequence."""

    __slots__ = (
        "logprobs",
        "min_p",
        "seed",
        "sequence",
        "temperature",
        "text",
        "tokens",
        "top_k",
        "top_p",
    )

    def __init__(self, sequence: Sequence, submit: wire.Submit, tokens: list[int]) -> None:
        """Begin with the prompt's tokens."""
        self.sequence = sequence
        self.tokens = tokens
        self.text = detokenise.Detokeniser(submit.stop)
        self.logprobs = submit.logprobs
        self.temperature = submit.sampling.temperature
        self.top_k = submit.sampling.top_k
        self.top_p = submit.sampling.top_p
        self.min_p = submit.sampling.min_p
        self.seed = submit.sampling.seed & _SEED_MASK

    def finished(self, reason: str) -> wire.Finished:
        """How it ended."""
        s = self.sequence
        return wire.Finished(
            id=s.id,
            reason=reason,
            prompt_tokens=s.prompt,
            completion_tokens=s.completion_tokens,
            queue_us=s.started_us - s.arrived_us if s.started_us >= 0 else 0,
            ttft_us=s.first_us - s.arrived_us if s.first_us >= 0 else 0,
            busy_us=s.busy_us,
        )
