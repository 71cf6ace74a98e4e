"""Where tokens begin in the text that they spell, in characters.

Some tokens hold part of a character; it counts where its last byte is. Imported by `openai_format`.
"""

from __future__ import annotations

import codecs
from typing import Final

_Decoder: Final = codecs.getincrementaldecoder("utf-8")


class TextOffsets:
    """The tokens of one text, in order."""

    def __init__(self) -> None:
        """At the beginning of the text."""
        self._decoder = _Decoder("replace")
        self._at = 0

    def next(self, raw: bytes) -> int:
        """Where the next token begins; `raw` are its bytes in the text."""
        at = self._at
        self._at += len(self._decoder.decode(raw))
        return at
