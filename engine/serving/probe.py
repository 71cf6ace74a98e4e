"""A short generation that proves a context before any request waits for it.

A file that loads may still compute nothing: damaged weights give NaN, a LoRA with an absurd scale
gives infinities, a changed tokenizer aborts on the first unusual byte. The probe tokenises text of
every kind of byte, computes a few tokens together and then some one by one, and looks at every
logit. It takes a few steps of the model, and stops early where those are slow. Never samples for a
client. Imported by `engine.serving.adapters`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from engine.serving import sampling

PROMPT: Final = 4
"""Tokens that are computed together."""
STEPS: Final = 3
"""Tokens that are then computed one by one."""
PATIENCE_US: Final = 100_000
"""After this long no further step begins."""

_ASCII: Final = range(0x80)
_CONTINUED: Final = range(0x80, 0x100)
_SURROGATES: Final = range(0xD800, 0xE000)
_TWO: Final = range(0x100, 0x800, 0x40)
_THREE: Final = range(0x900, 0x10000, 0x800)
_FOUR: Final = range(0x10000, 0x110000, 0x30000)
_LEADING: Final = [c for c in (*_TWO, *_THREE, *_FOUR, 0x1F642) if c not in _SURROGATES]
TEXT: Final = "".join(map(chr, (*_ASCII, *_CONTINUED, *_LEADING)))
"""Text whose UTF-8 holds every byte that UTF-8 can hold, zero included: clients may send it."""


class Computes(Protocol):
    """What is proved: a context that is not used otherwise meanwhile."""

    def compute(self, tokens: list[int], start: int) -> npt.NDArray[np.float32]:
        """The logits (tokens, V) of these tokens of one sequence, the first one at `start`."""


def fault(
    context: Computes,
    tokenise: Callable[[str], list[int]],
    first: int,
    *,
    now_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
) -> str | None:
    """What is wrong with the numbers, as evidence; None if the context computes.

    `first` is a token to begin with, such as BOS. A tokenizer that is broken ends the process.
    """
    began = now_us()
    tokens = [first, *tokenise(TEXT)][:PROMPT]
    at = 0
    for _ in range(1 + STEPS):
        logits = context.compute(tokens, at)
        for row in logits:
            at += 1
            if (wrong := unreal(row)) is not None:
                return f"logits of the probe are {wrong} at token {at}"
        if now_us() - began > PATIENCE_US:
            break
        tokens = [int(logits[-1].argmax())]
    return None


def unreal(logits: sampling.Floats) -> str | None:
    """Why one row of logits (V,) is no prediction; None if it is one.

    Minus infinity is a way to exclude a token, unless it excludes all of them.
    """
    peak, least = float(logits.max()), float(logits.min())
    if np.isnan(peak):
        return "NaN"
    if np.isinf(peak):
        return "infinite"
    return "all equal" if peak == least else None
