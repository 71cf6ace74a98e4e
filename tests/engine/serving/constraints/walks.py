"""Texts that a constraint allows, drawn token by token from its masks as a model would.

Tokens are bytes, an end and control tokens.
"""

from __future__ import annotations

import functools
import json
import random

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from engine.serving import wire
from engine.serving.constraints import check, grammars

_STEPS = 1500
_END = 256
FIRST = 257
"""The id of the first token that is no byte."""
_PUNCTUATION = frozenset(b'"}],:0123456789tfn')


class _Tokens:
    """As llguidance asks for a vocabulary."""

    eos_token_id = _END
    bos_token_id = None

    def __init__(self, controls: tuple[str, ...], others: tuple[str, ...]) -> None:
        self.tokens = [*(bytes((byte,)) for byte in range(256)), b"<end>"]
        self.tokens += [text.encode() for text in (*controls, *others)]
        self.special_token_ids = list(range(_END, FIRST + len(controls)))

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@functools.cache
def tokens(controls: tuple[str, ...] = (), others: tuple[str, ...] = ()) -> LLTokenizer:
    """A tokenizer over single bytes, with control tokens after them, and other tokens then."""
    return LLTokenizer(TokenizerWrapper(_Tokens(controls, others)), eos_token=[_END], slices=[])


def ids(controls: tuple[str, ...]) -> dict[str, int]:
    """The ids of the control tokens."""
    return {text: FIRST + place for place, text in enumerate(controls)}


@functools.cache
def _usual() -> object:
    return check.usual()


def constraint(kind: str, source: object, spacing: str = "") -> wire.Constraint:
    """A constraint; what is no text is written as JSON."""
    written = source if isinstance(source, str) else json.dumps(source)
    return wire.Constraint(kind, written, spacing=spacing)


def fault(kind: str, source: object) -> str | None:
    """Why it is refused."""
    return check.fault(constraint(kind, source), _usual())  # type: ignore[arg-type]


def text(
    kind: str, source: object, seed: int, spacing: str = "", controls: tuple[str, ...] = ()
) -> str:
    """One text that the constraint allows, its end included; punctuation is a little likelier."""
    matcher = grammars.compiled(tokens(controls), constraint(kind, source, spacing))
    spelled = {number: name.encode() for name, number in ids(controls).items()}
    dice, out = random.Random(seed), b""
    for _ in range(_STEPS):
        token = drawn(matcher, dice)
        if token == _END:
            return out.decode()
        assert matcher.consume_token(token)
        out += spelled.get(token) or bytes((token,))
        if matcher.is_stopped():
            return out.decode()
    raise AssertionError(f"no end after {_STEPS} tokens")


def drawn(matcher: LLMatcher, dice: random.Random) -> int:
    """A token that may follow."""
    mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    assert not matcher.is_error(), matcher.get_error()
    allowed = np.flatnonzero(np.unpackbits(mask, bitorder="little")).tolist()
    if _END in allowed and (len(allowed) == 1 or dice.random() < 0.3):
        return _END
    allowed = [token for token in allowed if token != _END]
    likely = [token for token in allowed if token in _PUNCTUATION or token > _END]
    return int(dice.choice(likely if likely and dice.random() < 0.5 else allowed))
