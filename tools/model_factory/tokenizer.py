"""A byte-level BPE tokenizer in which every word of the vocabulary is one token.

The scheme of GPT-2 (Radford et al. 2019): bytes are represented by printable characters, text is
split into words with their leading space, and merges are applied in the order of their rank. Any
text survives encoding and decoding. Used for training; serving uses llama.cpp's own tokenizer, with
the tables of the GGUF. The two agree on ASCII; some Unicode letters may be split differently.
Standard library only. Never writes files. Imported by `train` and its modules.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS = (END_OF_TEXT, START, END)

_SPECIAL = re.compile("(" + "|".join(re.escape(special) for special in SPECIALS) + ")")
_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")

Pair = tuple[str, str]


def _printable() -> dict[int, str]:
    """Byte to character: printable Latin-1 maps to itself, other bytes to U+0100 and up."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + place) for place, byte in enumerate(rest)
    }


_CHARACTER = _printable()
_BYTE = {character: byte for byte, character in _CHARACTER.items()}


def _characters(text: str) -> str:
    return "".join(_CHARACTER[byte] for byte in text.encode())


def words(text: str) -> list[str]:
    """`text` split as GPT-2 splits it, before any merge."""
    return _WORDS.findall(text)


def learn_merges(vocabulary: Iterable[str]) -> list[Pair]:
    """The merges after which every word of `vocabulary` is one token.

    Byte-pair encoding (Sennrich et al. 2016) that counts each word once and ends when every word is
    one token. Numbers come first and are merged from the left, so that they share prefixes.
    """
    merges: list[Pair] = []
    spelled: dict[str, list[str]] = {}
    for word in sorted(set(vocabulary)):
        spelling = _characters(word)
        if word.strip().isdigit():
            steps = [(spelling[:place], spelling[place]) for place in range(1, len(spelling))]
            merges.extend(step for step in steps if step not in merges)
        else:
            spelled[word] = list(spelling)
    merges.sort(key=lambda pair: (not pair[0].startswith(_CHARACTER[0x20]), len(pair[0])))
    while True:
        pairs: Counter[Pair] = Counter()
        for parts in spelled.values():
            pairs.update(itertools.pairwise(parts))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in spelled.items():
            spelled[word] = _merge(parts, best)


def _merge(parts: Sequence[str], pair: Pair) -> list[str]:
    merged: list[str] = []
    place = 0
    while place < len(parts):
        if tuple(parts[place : place + 2]) == pair:
            merged.append(pair[0] + pair[1])
            place += 2
        else:
            merged.append(parts[place])
            place += 1
    return merged


class Tokenizer:
    """Text to token ids and back. Tokens: the specials, the 256 bytes, then one per merge."""

    def __init__(self, merges: Sequence[Pair]) -> None:
        self.merges = tuple(merges)
        self.tokens = (
            *SPECIALS,
            *(_CHARACTER[byte] for byte in range(256)),
            *(left + right for left, right in merges),
        )
        self.number = {token: number for number, token in enumerate(self.tokens)}
        self._rank = {pair: rank for rank, pair in enumerate(self.merges)}
        self._encode_word = lru_cache(maxsize=1 << 16)(self._spell)

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`; special tokens spelled in it are parsed as such."""
        numbers: list[int] = []
        for piece in _SPECIAL.split(text):
            if piece in SPECIALS:
                numbers.append(self.number[piece])
                continue
            for word in words(piece):
                numbers.extend(self._encode_word(word))
        return numbers

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of `numbers`; invalid UTF-8 becomes U+FFFD."""
        raw = bytearray()
        for number in numbers:
            token = self.tokens[number]
            if number < len(SPECIALS):
                raw += token.encode()
            else:
                raw += bytes(_BYTE[character] for character in token)
        return raw.decode(errors="replace")

    def _spell(self, word: str) -> tuple[int, ...]:
        parts = list(_characters(word))
        while len(parts) > 1:
            known = [pair for pair in itertools.pairwise(parts) if pair in self._rank]
            if not known:
                break
            parts = _merge(parts, min(known, key=self._rank.__getitem__))
        return tuple(self.number[part] for part in parts)
