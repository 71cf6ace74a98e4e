"""A worker's text in the terms of a job."""

from __future__ import annotations

from typing import Any

import pytest

from engine.backends import parsed_text
from engine.chat_syntax import families
from engine.execution import failures
from engine.execution.job import CallDelta, Chat, Message, Tool
from engine.serving import wire
from engine.serving.constraints import check
from tests.engine.execution import jobs
from tests.engine.serving.constraints import walks

TOOL = Tool("weather", None, {"type": "object"})
PROMPT = (wire.Segment("<|im_start|>assistant\n", special=True),)
HERMES = families.of("<tool_call> <think>")


def parsing(**fields: Any) -> parsed_text.Parsing:
    """For a conversation with other fields."""
    chat = Chat((Message("user", "Rome?"),), **fields)
    return parsed_text.parsing(jobs.job(input=chat), HERMES, PROMPT)


def test_a_call_has_an_id_that_does_not_change_when_the_answer_begins_again() -> None:
    """Another choice has another one; tokens are counted once."""
    made = parsing(tools=(TOOL,))
    text = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'
    firsts = []
    for choice in (0, 0, 1):
        one = made.made(choice)
        assert one is not None
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
    one = made.made(0)
    assert one is not None
    assert one.delta(wire.Delta(7, "5 <", 1, ()), 5).text == "5"
    rest = one.rest("stop", 6)
    assert rest is not None
    assert (rest.text, rest.tokens) == (" <", 0)


def test_only_the_tool_that_is_named_can_be_called() -> None:
    """A call of another one is content."""
    made = parsing(tools=(TOOL, Tool("clock")), tool_choice="required", only_tool="clock")
    one = made.made(0)
    assert one is not None
    text = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
    one.delta(wire.Delta(7, text, 3, ()), 5)
    one.rest("stop", 6)
    assert not one.called


def test_marks_of_calls_are_shown_only_where_there_are_tools() -> None:
    """Else they would be content."""
    without, among = parsing(), parsing(tools=(TOOL,))
    assert set(among.shown) - set(without.shown) == {"<tool_call>", "</tool_call>"}


def test_an_answer_that_is_all_content_is_not_parsed() -> None:
    """Texts, and chats of a model without reasoning and tools."""
    for job, family in ((jobs.job(), HERMES), (jobs.chat("Rome?"), families.PLAIN)):
        assert parsed_text.parsing(job, family, PROMPT).made(0) is None


def test_a_call_that_has_to_be_made_is_begun_by_the_prompt() -> None:
    """Held to the schemas of the tools, and read together with what the prompt has begun."""
    made = parsing(tools=(TOOL,), tool_choice="required")
    assert made.prefix == "<tool_call>\n"
    assert made.constraint is not None
    assert (made.constraint.kind, made.constraint.field) == ("grammar", "tools")
    one = made.made(0)
    assert one is not None
    delta = one.delta(wire.Delta(7, '{"name": "weather", "arguments": {"a": 1}}', 3, ()), 5)
    assert [(call.name, call.arguments) for call in delta.calls] == [("weather", '{"a": 1}')]
    thought = (wire.Segment("<|im_start|>assistant\n<think>\n", special=True),)
    job = jobs.job(
        input=Chat((Message("user", "Rome?"),), tools=(TOOL,), tool_choice="required"),
        thinking_budget=5,
    )
    closed = parsed_text.parsing(job, HERMES, thought)
    assert closed.prefix == "\n</think>\n\n<tool_call>\n"
    assert closed.thinking is None


def test_a_call_that_the_model_makes_is_held_where_its_arguments_begin() -> None:
    """To its schema if the tool is strict; the same grammar serves all tools that are not."""
    lax = parsing(tools=(TOOL,))
    other = parsing(tools=(Tool("clock", None, {"not": {}}), Tool("disk")))
    assert lax.begins is not None
    assert lax.begins.armed == ("<tool_call>",)
    assert lax.constraint == other.constraint
    strict = parsing(tools=(Tool("weather", None, {"type": "object"}, strict=True), Tool("disk")))
    assert strict.constraint is not None
    assert strict.constraint.field == "tools"
    assert strict.constraint != lax.constraint
    assert (lax.trial, strict.trial) == (None, strict.constraint)
    assert (lax.prefix, lax.after, lax.opening) == ("", "</think>", "<think>")
    assert parsing().begins is None
    assert parsing(tools=(TOOL,), tool_choice="none").constraint is None


def test_a_strict_tool_is_tried_without_control_tokens_or_refused_by_its_name() -> None:
    """Where the tags of a family are control tokens, and where they cannot hold its schema."""
    family = families.of("<|open|><|close|><|sep|>")

    def of(schema: dict[str, Any]) -> parsed_text.Parsing:
        tools = (Tool("weather", None, schema, strict=True), Tool("disk"))
        job = jobs.job(input=Chat((Message("user", "Rome?"),), tools=tools))
        return parsed_text.parsing(
            job, family, PROMPT, {"<|open|>": 5, "<|close|>": 6, "<|sep|>": 7}
        )

    held = of({"type": "object"})
    assert held.trial is not None
    assert held.trial != held.constraint
    assert check.fault(held.trial, walks.tokens()) is None
    said = "arguments of tool weather cannot .*: anyOf of an object; leave strict out"
    with pytest.raises(failures.Invalid, match=said) as refused:
        of({"anyOf": [{"type": "object"}]})
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "tools")


def test_an_answer_is_over_once_the_only_call_that_may_be_made_is_complete() -> None:
    """Not before, and never where more may follow."""
    text = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"'
    for parallel in (None, False):
        one = parsing(tools=(TOOL,), parallel_calls=parallel).made(0)
        assert one is not None
        one.delta(wire.Delta(7, text, 3, ()), 5)
        assert not one.over
        one.delta(wire.Delta(7, "}}\n</tool_call>", 3, ()), 5)
        assert one.over == (parallel is False)


def test_what_has_to_match_a_schema_begins_after_the_reasoning() -> None:
    """That the prompt has opened; gpt-oss begins its content with a header, which comes before."""
    constraint = wire.Constraint("json_schema", "{}", "response_format")
    thought = (wire.Segment("<|im_start|>assistant\n<think>\n", special=True),)
    job = jobs.job(input=Chat((Message("user", "Rome?"),)), constraint=constraint)
    made = parsed_text.parsing(job, HERMES, thought)
    assert (made.prefix, made.constraint, made.after) == ("", constraint, "</think>")
    free = parsed_text.parsing(job, HERMES, PROMPT)
    assert (free.after, free.opening.strip()) == ("</think>", "<think>")
    harmony = parsed_text.parsing(job, families.of("<|channel|><|message|>"), PROMPT)
    assert harmony.prefix == "<|channel|>final<|message|>"
    parser = harmony.made(0)
    assert parser is not None
    assert parser.delta(wire.Delta(7, '{"a": 1}', 3, ()), 5).text == '{"a": 1}'


def test_beside_tools_a_schema_describes_the_answer_that_is_no_call() -> None:
    """After the reasoning, as without tools."""
    constraint = wire.Constraint("json_schema", '{"type": "object"}', "response_format")
    chat = Chat((Message("user", "Rome?"),), tools=(TOOL,))
    made = parsed_text.parsing(jobs.job(input=chat, constraint=constraint), HERMES, PROMPT)
    assert made.constraint is not None
    assert (made.constraint.kind, made.constraint.field) == ("either", "response_format")
    one = made.made(0)
    assert one is not None
    one.delta(wire.Delta(7, '{"name": "weather", "arguments": {}}', 3, ()), 5)
    assert one.called


def test_a_constraint_waits_for_the_reasoning_that_is_open_or_may_be_opened() -> None:
    """Not where the prompt has closed it, or the caller wants none."""
    bound = wire.Constraint("regex", "a")

    def at(prompt: str, **fields: Any) -> tuple[str, str]:
        job = jobs.job(input=Chat((Message("user", "Rome?"),)), constraint=bound, **fields)
        made = parsed_text.parsing(job, HERMES, (wire.Segment(prompt, special=True),))
        return made.opening.strip(), made.after.strip()

    assert at("<|im_start|>assistant\n") == ("<think>", "</think>")
    assert at("<|im_start|>assistant\n<think>\n") == ("", "</think>")
    assert at("<|im_start|>assistant\n<think>\n\n</think>\n\n") == ("", "")
    assert at("<|im_start|>assistant\n", thinking_budget=0) == ("", "")
