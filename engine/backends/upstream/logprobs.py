"""The log-probabilities in an answer, in the formats of chats and of completions.

llama-server uses the format of chats for both. Pure. Imported by `answer`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from engine.execution.job import Logprob, TokenLogprob

_LEAST: Final = -9999.0
"""OpenAI's own figure for minus infinity."""
_BYTES: Final = re.compile(r"bytes:(?:\\x[0-9a-f]{2})+")
"""How OpenAI names a token that is not valid UTF-8 alone."""


def read(raw: dict[str, Any], alternatives: int) -> tuple[TokenLogprob, ...]:
    """The tokens with at most so many alternatives each, the most likely first.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the format is unknown.
    """
    most = max(0, alternatives)
    if raw.get("content") is not None:
        return tuple(_of_chat(token, most) for token in raw["content"])
    if raw.get("tokens"):
        return _of_text(raw, most)
    return ()


def _of_chat(token: dict[str, Any], most: int) -> TokenLogprob:
    top = [_logprob(each) for each in token.get("top_logprobs") or ()]
    return TokenLogprob(_logprob(token), tuple(top[:most]))


def _of_text(raw: dict[str, Any], most: int) -> tuple[TokenLogprob, ...]:
    tokens, values = raw["tokens"], raw["token_logprobs"]
    tops = raw.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        TokenLogprob(_pair(token, value), _best(top or {})[:most])
        for token, value, top in zip(tokens, values, tops, strict=True)
    )


def _best(top: dict[str, float]) -> tuple[Logprob, ...]:
    pairs = (_pair(token, value) for token, value in top.items())
    return tuple(sorted(pairs, key=lambda pair: -pair.logprob))


def _logprob(token: dict[str, Any]) -> Logprob:
    raw = token.get("bytes")
    exact = bytes(raw) if raw is not None else str(token["token"]).encode("utf-8", "replace")
    return Logprob(exact, _number(token["logprob"]))


def _pair(token: str, value: float | None) -> Logprob:
    name = str(token)
    if _BYTES.fullmatch(name):
        exact = bytes.fromhex(name.removeprefix("bytes:").replace("\\x", ""))
    else:
        exact = name.encode("utf-8", "replace")
    return Logprob(exact, _number(value))


def _number(value: float | None) -> float:
    return _LEAST if value is None else max(float(value), _LEAST)
