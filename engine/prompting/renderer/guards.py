"""Keeps text of users from being read as control tokens.

A text that spells `<|im_end|>` must reach the model as those letters. Where a text spells one of
the vocabulary's control tokens, the spelling is hidden behind a private-use character before the
chat template is rendered, and the rendered prompt is cut into segments there. Texts without any,
nearly all, cost one search. Imported by `compiled`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from engine.prompting.renderer.faults import Crowded
from engine.serving import wire

_FIRST: Final = 0xF0000
_LAST: Final = 0xFFFFD


class Guard:
    """Hides the spellings of one vocabulary's control tokens."""

    def __init__(self, control_tokens: Iterable[str]) -> None:
        spelled = sorted({t for t in control_tokens if t}, key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, spelled))) if spelled else None

    def hide(self, texts: list[str]) -> tuple[list[str], dict[str, str]]:
        """The texts with spellings hidden, and the spelling behind each private-use character.

        Raises:
            Crowded: no character is left for a spelling.
        """
        if self._spelled is None or not any(map(self._spelled.search, texts)):
            return texts, {}
        taken = {c for text in texts for c in text if _FIRST <= ord(c) <= _LAST}
        free = (chr(code) for code in range(_FIRST, _LAST + 1) if chr(code) not in taken)
        spellings: dict[str, str] = {}

        def hidden(match: re.Match[str]) -> str:
            if match[0] not in spellings:
                character = next(free, None)
                if character is None:
                    raise Crowded(
                        "this cannot be escaped: it spells control tokens and holds every "
                        "private-use character"
                    )
                spellings[match[0]] = character
            return spellings[match[0]]

        texts = [self._spelled.sub(hidden, text) for text in texts]
        return texts, {character: spelling for spelling, character in spellings.items()}


def segments(rendered: str, hidden: dict[str, str]) -> tuple[wire.Segment, ...]:
    """The rendered prompt: hidden spellings as plain text, the rest with control tokens."""
    if not hidden:
        return (wire.Segment(rendered, special=True),)
    parts = re.split(f"([{''.join(hidden)}])", rendered)
    return tuple(
        wire.Segment(hidden.get(part, part), special=part not in hidden) for part in parts if part
    )
