"""A call that the end of an answer cut can be sent back in the conversation."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.execution import continuation, cut_arguments
from engine.execution.job import Asked, Call, Chat, Message, Options
from storage.texts import Text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), VALUES, min_size=1), st.data())
def test_arguments_cut_anywhere_are_an_object_of_what_there_is(
    arguments: dict[str, object], data: st.DataObject
) -> None:
    """Its keys are the first of those that were written; whole arguments stay as they are."""
    text = json.dumps(arguments)
    assert cut_arguments.whole(text) == text
    cut = cut_arguments.whole(text[: data.draw(st.integers(1, len(text) - 1))])
    assert cut is not None
    found = msgspec.json.decode(cut)
    assert list(found) == list(arguments)[: len(found)]


def test_what_had_arrived_of_a_text_is_kept() -> None:
    """It is what the model has said."""
    assert cut_arguments.whole('{"city": "Rom') == '{"city": "Rom"}'


@pytest.mark.parametrize(
    "arguments",
    ["", "Rome", "[1", '"a', '{"a": 1} x', '{"a" 1', '{"a": NaN}', "{a", '{"a": "\ud800'],
)
def test_other_text_is_no_call_that_was_cut(arguments: str) -> None:
    """It is refused as before."""
    assert cut_arguments.whole(arguments) is None


def test_an_answer_that_ended_inside_a_call_can_be_continued() -> None:
    """By `previous_response_id`: templates take objects."""
    turn = Message("assistant", "", calls=(Call("1", "f", '{"a": [1, 2'), Call("2", "g", "")))
    asked = Asked(input=Chat((Message("user", "Rome?"),)), options=Options())
    asked_text, turn_text = (msgspec.json.encode(each).decode() for each in (asked, turn))
    said = continuation.of(
        Text(request_id="1", at_us=1, prompt="", completion="", asked=asked_text, turn=turn_text)
    )
    assert [call.arguments for call in said[-1].calls] == ['{"a": [1, 2]}', "{}"]
