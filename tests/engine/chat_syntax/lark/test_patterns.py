"""Expressions of JSON Schema as ones that match whole texts."""

from __future__ import annotations

import functools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher

from engine.chat_syntax.lark import patterns
from engine.chat_syntax.lark.schemas import Unwritable
from engine.serving import wire
from engine.serving.constraints import grammars
from tests.engine.serving.constraints import walks

SHARED = [
    "a", "^a", "a$", "^a$", "a|b", "^a$|^b", "^(a|b)+$", "^(?:ab)*c?$", "^a{2}$", "^a{1,2}b{2,}",
    "^a+?b", "[ab]c", "[^ab]", "^[a-c]+$", r"^\d{2}-\d", r"^\w+$", r"^\W$", r"\s", r"^\S+$",
    r"^[\d.]+$", r"^[\w-]+$", r"^[a-c-]+$", r"^[-a]$", r"^[^\s]+$", r"^[\D]$",
    r"a\.b", r"^\/$", "^/$", r"^[&~#[]+$", r"^\u0041\x62$", "a.c", "^.$", "", "^$", r"^[\]\\]$",
    r"^\-$", "^é$", '^"$', r"^\t|\n$",
]  # fmt: skip
REFUSED = [
    "(?=a)", "(?!a)b", "(?<=a)b", r"(a)\1", r"\bword", "(^a|b)", "a^b", "a$b", "(?<n>a)", "(a",
    "a)", "a{,2}", "*a", "a**", "[", "[]", r"\k", "^*a", "(?i)a",
]  # fmt: skip


@functools.cache
def compiled(pattern: str) -> LLMatcher:
    """A matcher of the texts in which a pattern is found."""
    lark = f'start: "<" TEXT\nTEXT: {patterns.whole(pattern)} ">"\n'
    return grammars.compiled(walks.tokens(), wire.Constraint("grammar", lark))


def found(pattern: str, text: str) -> bool:
    """Whether the grammar allows a text."""
    matcher = compiled(pattern).deep_copy()
    return matcher.consume_tokens(list(f"<{text}>".encode())) and matcher.is_accepting()


@given(
    st.sampled_from(SHARED),
    st.one_of(
        st.text('abc12-._&~#[]\\/ \t\n"Aé', max_size=6), st.from_regex("[a-c]{0,3}[0-9]{0,2}")
    ),
)
def test_a_pattern_matches_whole_texts_where_json_schema_finds_it(pattern: str, text: str) -> None:
    """Python's expressions mean the same as ECMAScript's here, but for its classes and its `$`."""
    expected = re.search(pattern.replace("$", r"\Z"), text, re.ASCII) is not None
    assert found(pattern, text.replace(">", "")) == expected, (pattern, text)


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_the_notations_do_not_share_is_refused(pattern: str) -> None:
    """It would be held to something else."""
    with pytest.raises(Unwritable):
        patterns.whole(pattern)
