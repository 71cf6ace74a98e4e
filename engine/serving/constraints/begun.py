"""A constraint on parts of a text: free up to where one begins, and again after its end.

So are the arguments of calls that a model makes by itself. vLLM calls this a structural tag and
llama.cpp a lazy grammar. What begins as such a part and is none stays free. Imported by `held`.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import llguidance

from engine.serving import wire
from engine.serving.constraints.masks import Matcher

_TAIL: Final = 1024
"""Bytes of the text in which a beginning is looked for."""


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode(), re.DOTALL)


class PartMatcher(Matcher):
    """Active within a part. It never ends the text."""

    __slots__ = ("_armed", "_begins", "_compiled", "_inside", "_opens", "_text", "_tokenizer")

    def __init__(
        self,
        compiled: llguidance.LLMatcher,
        tokenizer: llguidance.LLTokenizer,
        begins: wire.Begins,
        after: str = "",
        opening: str = "",
    ) -> None:
        """`after` ends a reasoning, which is open already or which `opening` may open first."""
        super().__init__(compiled)
        self.active = False
        self._compiled = compiled
        self._tokenizer = tokenizer
        self._begins = begins
        self._armed = not begins.armed
        self._after = after.strip().encode()
        self._opens = opening.strip().encode()
        self._inside = bool(self._after) and not self._opens
        self._text = b"" if self._inside or self._opens else begins.begun.encode()

    def push(self, token: int, raw: bytes) -> None:
        """Take a sampled token and its bytes, those of a control token included."""
        if self.active:
            super().push(token, raw)
            if not self.fault and self.inner.is_stopped():
                self.active = False
                self._text = b""
            return
        self._text = (self._text + raw)[-_TAIL:]
        if not self._reasons():
            self._look(token, raw)

    def complete(self) -> bool:
        """A part may be followed by anything."""
        return False

    def _reasons(self) -> bool:
        """Whether the text is still its reasoning, where nothing begins."""
        if self._opens:
            said = self._text.lstrip()
            if said.startswith(self._opens):
                self._inside = True
            elif self._opens.startswith(said):
                return True
            self._opens = b""
        if self._inside:
            _, end, rest = self._text.partition(self._after)
            if not end:
                return True
            self._inside, self._text = False, self._begins.begun.encode() + rest
        return False

    def _look(self, token: int, raw: bytes) -> None:
        """Become active where a part begins; the last token may reach into it."""
        self._armed = self._armed or any(mark.encode() in self._text for mark in self._begins.armed)
        if not self._armed:
            return
        for pattern in self._begins.patterns:
            found = _compiled(pattern).search(self._text)
            if found is None:
                continue
            inner = self._compiled.deep_copy()
            begun = self._tokenizer.tokenize_bytes(found["name"] + b"\n")
            rest = self._text[found.end() :]
            begun += [token] if rest and rest == raw else self._tokenizer.tokenize_bytes(rest)
            if inner.consume_tokens(begun):
                self.inner = inner
                self.active = not inner.is_stopped()
                self._text = b""
                return
            if found.end() < len(self._text):  # else the name may become longer
                self._text = self._text[found.end() :]
