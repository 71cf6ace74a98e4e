"""The world draws the same again, its answers are right, and what was held out stays out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.shipped import held_out, verdicts, vocabulary, world

ITEMS = held_out.read()
SEEDS = st.integers(0, 2**32)


@given(SEEDS)
def test_a_case_follows_from_its_seed(seed: int) -> None:
    """The same generator gives the same notes and questions."""
    first, second = (world.draw_case(random.Random(seed), world.Recipe()) for _ in range(2))
    assert first == second


@given(SEEDS)
def test_an_answer_is_in_its_notes_or_nowhere(seed: int) -> None:
    """A stated value is in the notes; an unknown id is not mentioned by them."""
    case = world.draw_case(random.Random(seed), world.Recipe())
    assert len(case.questions) == world.Recipe().questions
    for question in case.questions:
        assert (question.value is not None) == (question.skill == "stated")
        assert question.value is None or question.value in case.context
        if question.skill == "unknown id":
            assert f"{question.kind} {question.id}" not in case.context.lower()


@given(SEEDS)
def test_the_wanted_answer_is_judged_correct_in_both_styles(seed: int) -> None:
    """What the model learns to say and what the judge accepts are the same."""
    case = world.draw_case(random.Random(seed), world.Recipe())
    for question in case.questions:
        for style in held_out.STYLES:
            item = world.item(case, question, style, "x")
            assert verdicts.judge(item, item.answer) is verdicts.Verdict.CORRECT


def test_every_held_out_answer_is_judged_correct() -> None:
    """The file agrees with the judge."""
    judged = {verdicts.judge(item, item.answer) for item in ITEMS}
    assert judged == {verdicts.Verdict.CORRECT}


def test_held_out_items_are_those_that_their_seed_draws() -> None:
    """The file was not edited by hand; it can be drawn again."""
    assert held_out.draw("held", held_out.HELD_OUT_SEED) == ITEMS


def test_held_out_items_cover_every_kind_skill_and_style() -> None:
    """Two hundred of each kind, half in each style, ids and notes all different."""
    for kind in vocabulary.KINDS:
        for skill, count in held_out.PER_KIND.items():
            found = [item for item in ITEMS if (item.kind, item.skill) == (kind.name, skill)]
            assert len(found) == count
            assert sum(item.system_style == "concise" for item in found) == count // 2
    assert len({item.id for item in ITEMS}) == len(ITEMS)
    assert len({item.context for item in ITEMS}) == len(ITEMS)


def test_development_items_are_others() -> None:
    """No notes are shared between what chooses a checkpoint and what measures it."""
    notes = {item.context for item in ITEMS}
    assert notes.isdisjoint(item.context for item in held_out.development())


def test_an_item_asks_with_the_system_prompt_of_its_style() -> None:
    """Messages are ready for the chat endpoint."""
    item = ITEMS[1]
    system, user = item.messages()
    assert system == {"role": "system", "content": world.SYSTEM_PROMPTS["concise"]}
    assert user == {"role": "user", "content": f"{item.context}\n\n{item.question}"}


def test_an_attribute_that_a_kind_lacks_is_an_error() -> None:
    """Orders have no owner."""
    with pytest.raises(KeyError):
        vocabulary.ORDER.attribute("owner")
