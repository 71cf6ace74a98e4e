"""A mask leaves what may follow, in each row of its own, and knows when nothing else can."""

from __future__ import annotations

import numpy as np
from llguidance import LLTokenizer

from engine.serving.constraints import grammars
from engine.serving.constraints.compiler import Compiler
from engine.serving.constraints.masks import Masks, Matcher
from tests.engine.serving.constraints import walks

V = 257
END = 256


def matchers(*expressions: str) -> list[Matcher]:
    """At the beginning of these expressions."""
    tokens = walks.tokens()
    return [
        Matcher(grammars.compiled(tokens, walks.constraint("regex", each))) for each in expressions
    ]


def left(row: np.ndarray[tuple[int], np.dtype[np.float32]]) -> bytes:
    """The bytes that are not excluded."""
    return bytes(np.flatnonzero(np.isfinite(row)).tolist())


def test_only_what_may_follow_is_left_in_each_row() -> None:
    """The rows between stay as they are, and so do the logits of what is allowed."""
    many = matchers("[ab]c", "[^x]+")
    masks = Masks(V, 2)
    logits = np.arange(3 * V, dtype=np.float32).reshape(3, V)
    before = logits.copy()
    masks.begin(many)
    masks.apply(logits, [0, 2])
    assert left(logits[0]) == b"ab"
    assert logits[1].tolist() == before[1].tolist()
    assert b"x"[0] not in np.flatnonzero(np.isfinite(logits[2]))
    finite = np.isfinite(logits)
    assert logits[finite].tolist() == before[finite].tolist()


def test_a_complete_text_is_known_at_once_and_an_open_one_may_end() -> None:
    """After the last token that anything can follow there is no other step."""
    closed, open_ = matchers("ab", "ab*")
    for matcher in (closed, open_):
        matcher.push(ord("a"), b"a")
    assert not closed.complete()
    masks = Masks(V, 2)
    masks.begin([closed, open_])
    masks.apply(np.zeros((2, V), np.float32), [0, 1])
    assert not masks.ends_here(closed, [END])
    closed.push(ord("b"), b"b")
    assert closed.complete()
    assert not open_.complete()
    open_.push(END, b"")
    assert open_.complete()


def test_a_token_that_may_not_follow_is_a_fault_of_that_row_alone() -> None:
    """With its reason; its row is not touched again."""
    wrong, right = matchers("ab", "ab")
    wrong.push(ord("x"), b"x")
    assert wrong.fault
    assert not wrong.complete()
    masks = Masks(V, 2)
    masks.begin([wrong, right])
    logits = np.zeros((2, V), np.float32)
    masks.apply(logits, [0, 1])
    assert left(logits[1]) == b"a"
    assert right.fault == ""


def test_the_vocabulary_is_read_before_anything_waits_for_a_constraint() -> None:
    """It takes a second and holds the GIL: every stream of the worker would stall."""
    made: list[bool] = []

    def make() -> LLTokenizer:
        made.append(True)
        return walks.tokens()

    compiler = Compiler(make)
    assert made == [True]
    assert compiler.find(walks.constraint("regex", "a")) is None
    assert made == [True]


def test_what_comes_before_the_end_of_the_reasoning_is_free() -> None:
    """The mark may be cut into tokens anywhere."""
    compiled = grammars.compiled(walks.tokens(), walks.constraint("regex", "ab"))
    matcher = Matcher(compiled, "</think>\n\n")
    for raw in (b"so <", b"/thi", b"nk"):
        matcher.push(0, raw)
        assert not matcher.active
    matcher.push(0, b"> ")
    assert matcher.active
    matcher.push(ord("a"), b"a")
    matcher.push(ord("b"), b"b")
    assert matcher.complete()


def test_the_reasoning_may_open_instead_of_the_first_token() -> None:
    """Then it is free until its end; without it the text begins at once, and it opens no more."""
    compiled = grammars.compiled(walks.tokens(), walks.constraint("regex", "ab"))
    many = [Matcher(compiled, "</t>", ord("<")) for _ in range(2)]
    masks = Masks(V, 2)
    for matcher in many:
        assert matcher.active
    masks.begin(many)
    logits = np.zeros((2, V), np.float32)
    masks.apply(logits, [0, 1])
    assert left(logits[0]) == left(logits[1]) == b"<a"
    thinking, direct = many
    direct.push(ord("a"), b"a")
    thinking.push(ord("<"), b"<")
    assert (thinking.active, direct.active) == (False, True)
    masks.begin([direct])
    masks.apply(logits := np.zeros((1, V), np.float32), [0])
    assert left(logits[0]) == b"b"
    thinking.push(0, b"so</t>")
    assert thinking.active
    assert thinking.fault == ""
