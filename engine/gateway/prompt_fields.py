"""The prompt of a text completion: one text or several, each as text or as token ids.

Imported by the modules of bodies.
"""

from __future__ import annotations

from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta

from engine.gateway import containers, errors

PROMPTS_LIMIT: Final = 128
TOKENS_LIMIT: Final = 1 << 20

Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Tokens = Annotated[list[Token], Meta(min_length=1, max_length=TOKENS_LIMIT)]
Prompt = str | Annotated[list[str | Token | _Tokens], Meta(min_length=1, max_length=TOKENS_LIMIT)]
"""One text, the tokens of one text, or several of either."""


def check(raw: msgspec.Raw) -> None:
    """Refuse too many lists before they are decoded, whatever is among them."""
    written = bytes(raw)
    if written.count(b"[") > PROMPTS_LIMIT:
        _count(containers.count(raw) - written.lstrip().startswith(b"["))


def prompts(prompt: Prompt) -> tuple[str | tuple[int, ...], ...]:
    """Each text, or its tokens.

    Raises:
        BadRequest: there are too many, or texts beside tokens.
    """
    if isinstance(prompt, str):
        return (prompt,)
    kind = type(prompt[0])
    if len(set(map(type, prompt))) > 1:
        other = next(at for at, each in enumerate(prompt) if type(each) is not kind)
        what = "all of a list are texts, or all are tokens of one text, or all are lists of tokens"
        raise errors.invalid(f"prompt[{other}]", what)
    if kind is int:
        return (cast("tuple[int, ...]", tuple(prompt)),)
    _count(len(prompt))
    return tuple(tuple(each) if isinstance(each, list) else str(each) for each in prompt)


def _count(texts: int) -> None:
    if texts > PROMPTS_LIMIT:
        raise errors.invalid("prompt", f"there are more than {PROMPTS_LIMIT} texts")
