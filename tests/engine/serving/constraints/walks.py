"""Texts that a constraint allows, drawn token by token from its masks as a model would."""

from __future__ import annotations

import functools
import json
import random

import numpy as np

from engine.serving import wire
from engine.serving.constraints import check, grammars

_STEPS = 1500
_END = 256
_PUNCTUATION = frozenset(b'"}],:0123456789tfn')


@functools.cache
def _tokens() -> object:
    return check.tokenizer()


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


def text(kind: str, source: object, seed: int, spacing: str = "") -> str:
    """One text that the constraint allows, its end included; punctuation is a little likelier."""
    matcher = grammars.compiled(_tokens(), constraint(kind, source, spacing))  # type: ignore[arg-type]
    dice, out = random.Random(seed), bytearray()
    for _ in range(_STEPS):
        mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        assert not matcher.is_error(), matcher.get_error()
        allowed = np.flatnonzero(np.unpackbits(mask, bitorder="little")).tolist()
        if _END in allowed and (len(allowed) == 1 or dice.random() < 0.3):
            return out.decode()
        allowed = [token for token in allowed if token != _END]
        likely = [token for token in allowed if token in _PUNCTUATION]
        token = dice.choice(likely if likely and dice.random() < 0.5 else allowed)
        assert matcher.consume_token(token)
        out.append(token)
        if matcher.is_stopped():
            return out.decode()
    raise AssertionError(f"no end after {_STEPS} tokens")
