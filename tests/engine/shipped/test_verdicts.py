"""The judge checks what a reply claims: of which thing, which value, and only that one."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.shipped import held_out, verdicts, world

CITY = world.Item(
    id="x",
    kind="order",
    answerable=True,
    system_style="sentence",
    context="Order 214 ships to Lisbon. Order 117 ships to Oslo.",
    question="Where does order 214 ship to?",
    answer="Order 214 ships to Lisbon.",
    skill="stated",
    entity="214",
    attribute="destination",
    value="Lisbon",
)
NOWHERE = dataclasses.replace(CITY, answerable=False, skill="unstated", value=None)
PRICE = dataclasses.replace(CITY, attribute="price", value="42 euros")
RABBIT = dataclasses.replace(
    CITY, kind="server", entity="rabbit", attribute="service", value="Postgres"
)


@pytest.mark.parametrize(
    ("item", "answer", "expected"),
    [
        (CITY, "Lisbon", "correct"),
        (CITY, "It goes to LISBON, as far as I can see.", "correct"),
        (CITY, "Oslo", "wrong value"),
        (CITY, "Order 117 ships to Lisbon.", "wrong value"),
        (CITY, "Order 214 does not ship to Lisbon.", "wrong value"),
        (CITY, "Lisbon or Oslo", "wrong value"),
        (CITY, "Pelican", "wrong value"),
        (CITY, "", "wrong value"),
        (CITY, "Unknown.", "declined"),
        (CITY, "I don't know.", "declined"),
        (CITY, "I do not know, perhaps Oslo.", "wrong value"),
        (NOWHERE, "Unknown.", "correct"),
        (NOWHERE, "I do not know: the notes say nothing about order 214.", "correct"),
        (NOWHERE, "Lisbon", "hallucinated"),
        (NOWHERE, "I do not know, perhaps Oslo.", "hallucinated"),
        (NOWHERE, "Order 214 is fine.", "hallucinated"),
        (PRICE, "Order 214 costs 42 euros.", "correct"),
        (PRICE, "42", "correct"),
        (PRICE, "42 percent", "wrong value"),
        (PRICE, "24 euros", "wrong value"),
        (RABBIT, "Server rabbit runs Postgres.", "correct"),
        (RABBIT, "Server rabbit runs Rabbit.", "wrong value"),
    ],
)
def test_a_reply_gets_the_verdict_that_its_claim_deserves(
    item: world.Item, answer: str, expected: str
) -> None:
    """Not the words count but what is said of whom."""
    assert verdicts.judge(item, answer).value == expected


@given(st.sampled_from(held_out.read()), st.text())
def test_any_reply_gets_a_verdict_that_fits_its_question(item: world.Item, answer: str) -> None:
    """Hallucinating takes an unanswerable question, declining wrongly an answerable one."""
    verdict = verdicts.judge(item, answer)
    if item.answerable:
        assert verdict is not verdicts.Verdict.HALLUCINATED
    else:
        assert verdict in {verdicts.Verdict.CORRECT, verdicts.Verdict.HALLUCINATED}
    assert held_out.judge(item, answer) == (verdict is verdicts.Verdict.CORRECT)


def test_a_value_of_another_entity_is_never_correct() -> None:
    """The commonest mistake of small models is another value from the same notes."""
    answerable = [item for item in held_out.read() if item.answerable]
    for item, other in itertools.pairwise(answerable):
        if (item.attribute, item.value) != (other.attribute, other.value):
            assert verdicts.judge(item, other.answer) is verdicts.Verdict.WRONG
