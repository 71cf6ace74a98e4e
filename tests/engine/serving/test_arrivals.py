"""Which requests are refused before anything is computed, because of what they would return."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from engine.serving import admission, arrivals, framing, wire
from engine.serving.constraints.held import Constraints
from engine.serving.generation import Prompts, Scoring
from engine.serving.llama.vocabulary import Vocabulary
from tests.engine.serving.workers import order, score


class _Words:
    """Ten tokens; only ids are asked about."""

    size = 10

    def __init__(self, least: int = 0) -> None:
        self._least = least
        self.counted: list[list[tuple[str, bool]]] = []

    def least(self, texts: list[tuple[str, bool]], _: int) -> int:
        """Of all texts the same."""
        self.counted.append(texts)
        return self._least


def arrived(tokens: int, alternatives: int) -> Any:
    """The work of scoring a prompt of so many tokens, in a context of a million."""
    asked = msgspec.structs.replace(
        score("", ""),
        prompt=(wire.Segment("", special=False, tokens=(1,) * tokens),),
        whole=True,
        alternatives=alternatives,
    )
    nothing = cast("Constraints", None)
    vocabulary = cast("Vocabulary", _Words())
    prompts = Prompts(lambda _: [])
    return arrivals.work(asked, arrivals.sequence(asked, 0), prompts, vocabulary, 1 << 20, nothing)


@pytest.mark.parametrize("alternatives", [0, 20])
def test_a_prompt_whose_figures_exceed_the_limit_is_not_scored(alternatives: int) -> None:
    """The frame of the answer would end the connection, and every stream of the worker with it."""
    most = wire.FIGURES_LIMIT // (1 + alternatives)
    assert isinstance(arrived(most, alternatives), Scoring)
    refusal = arrived(most + 1, alternatives)
    assert isinstance(refusal, admission.Refusal)
    assert refusal.code == "too_many_figures"
    assert "ask for fewer logprobs or send a shorter prompt" in refusal.message


def test_a_prompt_of_many_choices_is_measured_once() -> None:
    """A dense one of 128 choices kept a worker busy for seconds; a continuation counts apart."""
    words = _Words(60)
    vocabulary, nothing = cast("Vocabulary", words), cast("Constraints", None)
    prompts = Prompts(lambda _: [])
    asked = score("long", "more")
    choices = [msgspec.structs.replace(order(""), prompt=asked.prompt) for _ in range(4)]
    sent: list[tuple[wire.Submit | wire.Score, int]] = [(asked, 100)]
    sent += [(choice, 50) for choice in choices]
    for each, most in sent:
        sequence = arrivals.sequence(each, 0)
        made = arrivals.work(each, sequence, prompts, vocabulary, most, nothing)
        assert isinstance(made, admission.Refusal)
        assert made.code == "too_long"
    assert words.counted == [[("long", True)], [("more", False)]]


def test_the_largest_answer_that_is_allowed_fits_a_frame() -> None:
    """Even where every token has 24 bytes."""
    token = wire.Logprob(b"x" * 24, -1.5)
    places = wire.FIGURES_LIMIT // 21
    scored = wire.Scored(1, (token,) * places, places, 0, 0, top=((token,) * 20,) * places)
    assert len(framing.encode(wire.Outbox((scored,)))) < framing.FRAME_LIMIT
