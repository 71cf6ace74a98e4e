"""A model's vocabulary: text to tokens, and tokens to bytes.

A prompt comes in segments, of which only those of the chat template may spell control tokens. It
gives the tokens of the same text in one piece: text runs on across the borders of segments, and is
cut only by control tokens. Imported by `engine.serving.llama.model` and the worker.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import llama_cpp

_CONTROL: Final = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
_LSTRIP: Final = llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP
_RSTRIP: Final = llama_cpp.LLAMA_TOKEN_ATTR_RSTRIP
_KEPT: Final = 64
"""Sets of marks whose tokens are kept: there are as many as models have formats."""
_USUAL: Final = 8
"""Bytes for each token: twice what texts have."""
_PIECE: Final = 32 * 1024
_SHORT: Final = 256
_SURE: Final = 0.95
_CUT: Final = 16
_SPACE: Final = " \t\n\v\f\r"
_ANCHOR: Final = "\n"
"""Text that no vocabulary with a space prefix joins to what follows it."""


class Vocabulary:
    """The tokens of one model.

    `ends` are the tokens that end a generation, `controls` the control tokens by their text;
    `infill` are the texts of those before a prefix, a suffix and the middle that is to be written,
    none where the model was not trained to fill in.
    `piece_most` is the length in bytes of the longest token. `handle` is libllama's.
    """

    def __init__(self, handle: Any) -> None:
        """Read the special tokens."""
        self.handle = handle
        self.size = int(llama_cpp.llama_vocab_n_tokens(handle))
        self.bos = int(llama_cpp.llama_vocab_bos(handle))
        self.eos = int(llama_cpp.llama_vocab_eos(handle))
        self.sep = int(llama_cpp.llama_vocab_sep(handle))
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(handle)) and self.bos >= 0
        self.adds_eos = bool(llama_cpp.llama_vocab_get_add_eos(handle))
        self.adds_sep = bool(llama_cpp.llama_vocab_get_add_sep(handle)) and self.sep >= 0
        tokens = range(self.size)
        attributes = [int(llama_cpp.llama_vocab_get_attr(handle, token)) for token in tokens]
        self.controls = {
            text: token
            for token, attribute in enumerate(attributes)
            if attribute & _CONTROL and (text := self.text(token))
        }
        self.control_texts = tuple(sorted(self.controls))
        self.infill = self._infill()
        self.ends = frozenset(
            token for token in tokens if llama_cpp.llama_vocab_is_eog(handle, token)
        )
        spelled = sorted(self.controls, key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, spelled))) if spelled else None
        self._strips_left = {t for t, a in enumerate(attributes) if a & _LSTRIP}
        self._strips_right = {t for t, a in enumerate(attributes) if a & _RSTRIP}
        self._within: dict[tuple[str, ...], frozenset[int]] = {}
        self._pieces: list[bytes | None] = [None] * self.size
        self._spellings: dict[int, bytes] = {}
        self._buffer = ctypes.create_string_buffer(256)
        get_text = llama_cpp.llama_vocab_get_text
        self.piece_most = max(len(get_text(handle, token) or b"") for token in tokens) or 1
        self._prefixes_space = b"".join(map(self.piece, self._encode("a"))) == b" a"

    def _infill(self) -> tuple[str, ...]:
        handle = self.handle
        marks = (
            llama_cpp.llama_vocab_fim_pre(handle),
            llama_cpp.llama_vocab_fim_suf(handle),
            llama_cpp.llama_vocab_fim_mid(handle),
        )
        texts = tuple(self.text(int(mark)) for mark in marks)
        return texts if all(text in self.controls for text in texts) else ()

    def text(self, token: int) -> str:
        """How the vocabulary spells a token; empty for -1."""
        if token < 0:
            return ""
        raw = llama_cpp.llama_vocab_get_text(self.handle, token)
        return raw.decode("utf-8", "replace") if raw else ""

    def piece(self, token: int) -> bytes:
        """The bytes of a token in text; none for a control token."""
        known = self._pieces[token]
        if known is None:
            known = self._pieces[token] = self._render(token, special=False)
        return known

    def hides(self, token: int) -> bool:
        """Whether text does not show a token, as it does not show control tokens."""
        return not self.piece(token)

    def raw(self, token: int) -> bytes:
        """The bytes of a token; for a control token, its spelling."""
        piece = self.piece(token)
        if piece:
            return piece
        known = self._spellings.get(token)
        if known is None:
            known = self._spellings[token] = self._render(token, special=True)
        return known

    def within(self, marks: tuple[str, ...]) -> frozenset[int]:
        """The control tokens that are one of these texts, or part of one."""
        if not marks:
            return frozenset()
        known = self._within.get(marks)
        if known is None:
            known = frozenset(
                token
                for text, token in self.controls.items()
                if token not in self.ends and any(text in mark for mark in marks)
            )
            if len(self._within) < _KEPT:
                self._within[marks] = known
        return known

    def least(self, segments: Iterable[tuple[str, bool]], most: int) -> int:
        """A number of tokens that segments have at least: much faster than to count them all.

        Where that is within `most` although there are many bytes for each of so many tokens, they
        are counted as far as it takes to see that there are more. Texts are cut for that, which
        adds a few tokens at each cut; that is allowed for.
        """
        raws = [(text.encode("utf-8", "replace"), special) for text, special in segments]
        size = sum(len(raw) for raw, _ in raws)
        least = size // self.piece_most
        if least > most or size <= _USUAL * most:
            return least
        counted = cuts = 0
        for raw, special in raws:
            for at in range(0, len(raw) if len(raw) > _SHORT else 0, _PIECE):
                piece = raw[at : at + _PIECE]
                counted -= llama_cpp.llama_tokenize(
                    self.handle, piece, len(piece), None, 0, False, special
                )
                cuts += 1
                found = int(_SURE * counted) - _CUT * cuts
                if found > most:
                    return found
        return least

    def tokenise(self, segments: Iterable[tuple[str, bool]]) -> list[int]:
        """The tokens of (text, special) segments, with the BOS that the model asks for.

        `special`: control tokens spelled in the text are parsed as such.
        """
        tokens = self.tokenise_bare(segments)
        if self.adds_bos and tokens[:1] != [self.bos]:
            tokens.insert(0, self.bos)
        return tokens

    def tokenise_bare(self, segments: Iterable[tuple[str, bool]]) -> list[int]:
        """As `tokenise`, without BOS."""
        tokens: list[int] = []
        run: list[str] = []
        strip = False
        for part in self._parts(segments):
            if isinstance(part, str):
                run.append(part)
                continue
            text = "".join(run)
            text = text.rstrip(_SPACE) if part in self._strips_left else text
            tokens += self._encode(text.lstrip(_SPACE) if strip else text)
            tokens.append(part)
            run.clear()
            strip = part in self._strips_right
        text = "".join(run)
        tokens += self._encode(text.lstrip(_SPACE) if strip else text)
        return tokens

    def tokenise_whole(self, text: str) -> list[int]:
        """The tokens of a text with all that the model puts around one, such as CLS and SEP."""
        return self._encode(text, around=True)

    def tokenise_marks(self, text: str) -> list[int]:
        """The tokens of text with control tokens that continues other text: without BOS."""
        tokens = self.tokenise([(text, True)])
        return tokens[1:] if self.adds_bos and tokens[:1] == [self.bos] else tokens

    def tokenise_continuation(self, text: str) -> list[int]:
        """The tokens of plain text that continues other text: without BOS and space prefix."""
        if not self._prefixes_space:
            return self._encode(text)
        anchor = self._encode(_ANCHOR)
        tokens = self._encode(_ANCHOR + text)
        return tokens[len(anchor) :] if tokens[: len(anchor)] == anchor else self._encode(text)

    def _parts(self, segments: Iterable[tuple[str, bool]]) -> Iterator[str | int]:
        """Plain texts and control tokens, in order."""
        for text, special in segments:
            at = 0
            if special and self._spelled is not None:
                for match in self._spelled.finditer(text):
                    if match.start() > at:
                        yield text[at : match.start()]
                    yield self.controls[match[0]]
                    at = match.end()
            if at < len(text):
                yield text[at:]

    def _encode(self, text: str, *, special: bool = False, around: bool = False) -> list[int]:
        raw = text.encode("utf-8", "replace")
        if not raw and not around:
            return []
        room = len(raw) + 8
        while True:
            out = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self.handle, raw, len(raw), out, room, around, special)
            if count >= 0:
                return list(out[:count])
            room = -count

    def _render(self, token: int, *, special: bool) -> bytes:
        buffer = self._buffer
        size = llama_cpp.llama_token_to_piece(self.handle, token, buffer, len(buffer), 0, special)
        if size < 0:
            self._buffer = buffer = ctypes.create_string_buffer(-size)
            size = llama_cpp.llama_token_to_piece(
                self.handle, token, buffer, len(buffer), 0, special
            )
        return bytes(buffer.raw[: max(size, 0)])
