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
