"""Log-probabilities in the documents of completions: OpenAI's two forms, and vLLM's of a prompt.

Imported by `engine.gateway.openai_format`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from engine.execution.job import Logprob, PromptToken, TokenLogprob

_LEAST: Final = -9999.0
_AT_ONCE: Final = 64
"""Tokens whose log-probabilities are encoded in one piece."""

_Entry = TypeVar("_Entry", TokenLogprob, PromptToken, TokenLogprob | PromptToken)

_encode: Final = msgspec.json.Encoder().encode


class Names:
    """How tokens are named: by their text, or with `ids` as vLLM's `token_id:1234`."""

    def __init__(self, *, ids: bool = False) -> None:
        self._ids = ids

    def chat(self, one: TokenLogprob) -> dict[str, Any]:
        """An entry of a chat's log-probabilities."""
        return {**self._entry(one.chosen), "top_logprobs": [self._entry(each) for each in one.top]}

    def token(self, one: TokenLogprob | PromptToken) -> str:
        """A token of a text completion."""
        return self._name(one if isinstance(one, PromptToken) else one.chosen)

    def top(self, one: TokenLogprob | PromptToken) -> dict[str, float] | None:
        """The alternatives to it: tokens with equal text are distinguished by their bytes."""
        if isinstance(one, PromptToken) and one.logprob is None:
            return None
        entries: dict[str, float] = {}
        for each in one.top:
            name = self._name(each)
            entries[_bytes(each.raw) if name in entries else name] = _number(each.logprob)
        return entries

    def _entry(self, logprob: Logprob) -> dict[str, Any]:
        return {
            "token": _id(logprob.token) if self._ids else _text(logprob.raw),
            "logprob": _number(logprob.logprob),
            "bytes": list(logprob.raw),
        }

    def _name(self, one: Logprob | PromptToken) -> str:
        """A token's text; its bytes where they are not UTF-8 by themselves, as OpenAI has it."""
        if self._ids:
            return _id(one.token)
        try:
            return one.raw.decode()
        except UnicodeDecodeError:
            return _bytes(one.raw)


def value(one: TokenLogprob | PromptToken) -> float | None:
    """The log-probability; the first token of a prompt has none."""
    if isinstance(one, TokenLogprob):
        return _number(one.chosen.logprob)
    return None if one.logprob is None else _number(one.logprob)


def of_prompt(one: PromptToken) -> dict[str, Any] | None:
    """A token of a prompt and the most likely ones at its place, by their ids, as vLLM has them.

    `rank` counts from the most likely one; null for a token that is not among them.
    """
    if one.logprob is None:
        return None
    ranks = {other.token: rank for rank, other in enumerate(one.top, 1)}
    return {
        str(each.token): {
            "logprob": _number(each.logprob),
            "rank": ranks.get(each.token),
            "decoded_token": _text(each.raw),
        }
        for each in (Logprob(one.raw, one.logprob, one.token), *one.top)
    }


def shown(one: TokenLogprob | PromptToken) -> bytes:
    """What text shows of a token."""
    if isinstance(one, TokenLogprob):
        return one.chosen.raw
    return b"" if one.hidden else one.raw


def array(found: Sequence[_Entry], entry: Callable[[_Entry], object]) -> Iterator[bytes]:
    """A JSON array with an entry for each token, some tokens at a time."""
    yield b"["
    for first in range(0, len(found), _AT_ONCE):
        part = _encode([entry(one) for one in found[first : first + _AT_ONCE]])[1:-1]
        yield b"," + part if first else part
    yield b"]"


def _id(token: int) -> str:
    return f"token_id:{token}"


def _bytes(raw: bytes) -> str:
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _number(logprob: float) -> float:
    return max(logprob, _LEAST)
