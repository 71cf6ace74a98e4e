"""A worker's text in the terms of a job."""

from __future__ import annotations

from typing import Any

from engine.backends import parsed_text
from engine.chat_syntax import families
from engine.execution.job import CallDelta, Chat, Message, Tool
from engine.serving import wire
from tests.engine.execution import jobs

TOOL = Tool("weather", None, {"type": "object"})
PROMPT = (wire.Segment("<|im_start|>assistant\n", special=True),)
HERMES = families.of("<tool_call> <think>")


def parsing(**fields: Any) -> parsed_text.Parsing | None:
    """For a conversation with other fields."""
    chat = Chat((Message("user", "Rome?"),), **fields)
    return parsed_text.parsing(jobs.job(input=chat), HERMES, PROMPT)


def test_a_call_has_an_id_that_does_not_change_when_the_answer_begins_again() -> None:
    """Another choice has another one; tokens are counted once."""
    made = parsing(tools=(TOOL,))
    assert made is not None
    text = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'
    firsts = []
    for choice in (0, 0, 1):
        one = made.made(choice)
        delta = one.delta(wire.Delta(7, text, 3, ()), 5)
        assert one.rest("stop", 6) is None
        assert one.called
        (call,) = delta.calls
        assert (delta.index, delta.text, delta.tokens) == (choice, "", 3)
        assert call == CallDelta(0, call.id, "weather", '{"city": "Rome"}')
        firsts.append(call.id)
    assert firsts[0] == firsts[1] != firsts[2]
    assert all(id.startswith("call_") and len(id) == 29 for id in firsts)


def test_what_waits_for_the_rest_of_a_mark_is_no_token_of_its_own() -> None:
    """It comes with the end."""
    made = parsing(tools=(TOOL,))
    assert made is not None
    one = made.made(0)
    assert one.delta(wire.Delta(7, "5 <", 1, ()), 5).text == "5"
    rest = one.rest("stop", 6)
    assert rest is not None
    assert (rest.text, rest.tokens) == (" <", 0)


def test_only_the_tool_that_is_named_can_be_called() -> None:
    """A call of another one is content."""
    made = parsing(tools=(TOOL, Tool("clock")), tool_choice="required", only_tool="clock")
    assert made is not None
    one = made.made(0)
    text = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
    one.delta(wire.Delta(7, text, 3, ()), 5)
    one.rest("stop", 6)
    assert not one.called


def test_marks_of_calls_are_shown_only_where_there_are_tools() -> None:
    """Else they would be content."""
    without, among = parsing(), parsing(tools=(TOOL,))
    assert without is not None
    assert among is not None
    assert set(among.shown) - set(without.shown) == {"<tool_call>", "</tool_call>"}


def test_an_answer_that_is_all_content_is_not_parsed() -> None:
    """Texts, and chats of a model without reasoning and tools."""
    assert parsed_text.parsing(jobs.job(), HERMES, PROMPT) is None
    plain = jobs.chat("Rome?")
    assert parsed_text.parsing(plain, families.PLAIN, PROMPT) is None
