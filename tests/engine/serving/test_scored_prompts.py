"""What is remembered of scored prompts is the beginning that they share, within one scope."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.serving import scored_prompts, wire
from engine.serving.scored_prompts import Figures, ScoredPrompts
from engine.serving.sequences import Class, Sequence

PROMPTS = st.lists(st.lists(st.integers(0, 1), min_size=18, max_size=30), min_size=2, max_size=6)


def of(adapter: str = "", scope: str = "") -> Sequence:
    """A sequence of a scope."""
    return Sequence(
        id=1, adapter=adapter, class_=Class.INTERACTIVE, tenant="t", prompt_tokens=1, max_tokens=0,
        arrived_us=0, deadline_us=1, scope=scope,
    )  # fmt: skip


def figures(tokens: list[int], alternatives: int = 0) -> Figures:
    """Figures that depend on nothing but the tokens before."""
    scores = [-float(hash(tuple(tokens[: place + 1])) % 1000) for place in range(1, len(tokens))]
    likely = [tuple(wire.Logprob(b"%d" % n, s) for n in range(alternatives)) for s in scores]
    return Figures(scores, [score > -500 for score in scores], likely)


@given(PROMPTS)
def test_what_is_known_is_what_scoring_would_give(prompts: list[list[int]]) -> None:
    """The longest beginning that any has in common with one that was scored, and nothing else."""
    known = ScoredPrompts()
    *before, last = prompts
    for tokens in before:
        known.keep(of(), tokens, 2, figures(tokens, 2))
    found = known.find(of(), last, 1)
    count = len(found.logprobs)
    expected = figures(last, 1)
    assert found.logprobs == expected.logprobs[:count]
    assert found.top == expected.top[:count]
    assert found.likely == expected.likely[:count]
    alike = max(
        next((n for n, (a, b) in enumerate(zip(tokens, last, strict=False)) if a != b),
             min(len(tokens), len(last)))
        for tokens in before
    )  # fmt: skip
    assert count == (alike - 1 if alike >= scored_prompts.LEAST else 0)


def test_scopes_and_adapters_never_meet() -> None:
    """Neither do more alternatives come from fewer, nor anything from an unloaded adapter."""
    known, tokens = ScoredPrompts(), list(range(20))
    known.keep(of("lora", "tenant:a"), tokens, 1, figures(tokens, 1))
    assert len(known.find(of("lora", "tenant:a"), tokens, 1).logprobs) == 19
    for other, alternatives in (
        (of("lora"), 1),
        (of("", "tenant:a"), 1),
        (of("lora", "tenant:a"), 2),
    ):
        assert known.find(other, tokens, alternatives).logprobs == []
    known.forget("lora")
    assert known.find(of("lora", "tenant:a"), tokens, 1).logprobs == []


def test_what_is_kept_is_bounded() -> None:
    """The oldest goes first; one that is used stays."""
    known = ScoredPrompts()
    length = scored_prompts.FIGURES_MOST // 4
    first, *others = [[start, *range(10, 10 + length)] for start in range(5)]
    for tokens in (first, *others[:2]):
        known.keep(of(), tokens, 0, figures_of(length))
    assert known.find(of(), first, 0).logprobs
    for tokens in others[2:]:
        known.keep(of(), tokens, 0, figures_of(length))
    assert known.find(of(), first, 0).logprobs
    assert known.find(of(), others[0], 0).logprobs == []


def figures_of(count: int) -> Figures:
    """So many."""
    return Figures([0.0] * count, [True] * count, [()] * count)
