"""What a worker keeps of a sequence beside its slot."""

from __future__ import annotations

from collections.abc import Iterable

from engine.serving import wire
from engine.serving.generation import Prompts


def test_a_prompt_that_many_read_is_tokenised_once() -> None:
    """Each gets tokens of its own; another prompt, the same text or not, is read by itself."""
    read: list[list[tuple[str, bool]]] = []

    def tokenise(pieces: Iterable[tuple[str, bool]]) -> list[int]:
        read.append(list(pieces))
        return [len(text) for text, _ in read[-1]]

    prompts = Prompts(tokenise)
    prompt = (wire.Segment("one", special=True), wire.Segment("three", special=False))
    first, second = prompts.tokens(prompt), prompts.tokens(prompt)
    first.append(9)
    assert second == prompts.tokens(prompt) == [3, 5]
    assert prompts.tokens((wire.Segment("four", special=False),)) == [4]
    assert read == [[("one", True), ("three", False)], [("four", False)]]


def test_what_a_prompt_of_many_choices_holds_is_found_out_once() -> None:
    """Its tally, for penalties, and tokens that there are not: 128 choices took seconds."""
    prompts = Prompts(lambda _: [])
    prompt = (wire.Segment("", special=False, tokens=(3, 1, 3, 2)),)
    tally = prompts.tally(prompt, -1)
    assert tally.tokens.tolist() == [1, 2, 3]
    assert tally.counts.tolist() == [1, 1, 2]
    assert prompts.tally(prompt, -1) is tally
    assert prompts.tally(prompt, 2).tokens.tolist() == [2, 3]
    assert prompts.unknown(prompt, 3) == (3, 0)
    assert prompts.unknown(prompt, 99) == (3, 0), "it was asked before"
    other = (wire.Segment("", special=False, tokens=(5,)),)
    assert prompts.unknown(other, 9) is None
    assert prompts.tally(other, -1).tokens.tolist() == [5]
