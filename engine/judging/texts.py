"""How alike two answers to one request are: the same text, or how many of their words they share.

Token F1 counts words, not their order, their case or punctuation: 1 says that both answers use the
same words equally often, 0 that they share none. It measures change, not quality: a better answer
may share few words with the one before. Pure. Imported by replay, shadow rollouts and evaluation.

Source: the F1 of SQuAD (Rajpurkar, Zhang, Lopyrev and Liang 2016, "SQuAD: 100,000+ questions for
machine comprehension of text"), without its removal of English articles. Characters of scripts
that are written without spaces are words by themselves, as in the multilingual MLQA.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Final

_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text in their order, in lower case and one Unicode form (NFKC)."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def same(before: str, after: str) -> bool:
    """Whether two answers are equal but for white space around them."""
    return before.strip() == after.strip()


def token_f1(before: str, after: str) -> float:
    """The F1 of the words that two answers share, from 0 to 1; symmetric.

    Two texts without a word, such as two empty answers, have 1 if they are the same, else 0.
    """
    one, other = Counter(words(before)), Counter(words(after))
    total = one.total() + other.total()
    if not total:
        return float(same(before, after))
    return 2 * (one & other).total() / total
