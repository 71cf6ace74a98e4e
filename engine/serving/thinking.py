"""A bound on reasoning: once it has so many tokens, the tokens of the closing mark are forced.

Follows one sequence by the bytes of its tokens. Knows nothing of models or requests. Imported by
`generation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto

from engine.serving import wire

_SPACES = b" \t\r\n"


class _At(Enum):
    START = auto()
    INSIDE = auto()
    OUTSIDE = auto()


class ThinkingLimit:
    """`budget` tokens between two marks, then `closing_tokens`. `inside`: the prompt opened it."""

    __slots__ = ("_at", "_budget", "_closing", "_forced", "_opening", "_tail", "_tokens")

    def __init__(
        self,
        budget: int,
        *,
        opening: str,
        closing: str,
        closing_tokens: Sequence[int],
        inside: bool,
    ) -> None:
        self._budget = budget
        self._opening = opening.strip().encode()
        self._closing = closing.strip().encode()
        self._tokens = list(closing_tokens)
        self._forced: list[int] = []
        self._at = _At.INSIDE if inside else _At.START
        self._tail = b""

    def next(self, token: int) -> int:
        """The token that follows: the sampled one, or one of the closing mark."""
        if self._at is _At.INSIDE and self._budget <= 0 and not self._forced:
            self._forced = self._tokens[:]
            self._at = _At.OUTSIDE
        return self._forced.pop(0) if self._forced else token

    def push(self, raw: bytes) -> None:
        """The bytes of the token that followed, those of a control token included."""
        if self._at is _At.OUTSIDE:
            return
        if self._at is _At.INSIDE:
            self._budget -= 1
            self._tail = (self._tail + raw)[-len(self._closing) - len(raw) :]
            if self._closing in self._tail:
                self._at = _At.OUTSIDE
            return
        self._tail = (self._tail + raw).lstrip(_SPACES)
        if self._tail.startswith(self._opening):
            self._at, self._tail = _At.INSIDE, b""
        elif not self._opening.startswith(self._tail):
            self._at = _At.OUTSIDE


def limit(
    asked: wire.Thinking | None, tokenise: Callable[[str], Sequence[int]]
) -> ThinkingLimit | None:
    """The bound that a request asks for; `tokenise` reads control tokens in a text."""
    if asked is None:
        return None
    return ThinkingLimit(
        asked.budget,
        opening=asked.opening,
        closing=asked.closing,
        closing_tokens=tokenise(asked.forced),
        inside=asked.inside,
    )
