"""Anthropic's bodies in terms of a job, and what is refused with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.execution.job import Call, Chat, Message, Options
from engine.gateway import anthropic_bodies, errors, request_bodies

READER = request_bodies.Reader(
    anthropic_bodies.Message,
    ignored=anthropic_bodies.IGNORED,
    unchanging=anthropic_bodies.UNCHANGING,
)
ASK = {"role": "user", "content": "Where is order 17?"}
LOOK = {"name": "look", "input_schema": {"type": "object"}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"order": 17}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "late"}
FAILED = {**RESULT, "content": [{"type": "text", "text": "no such order"}], "is_error": True}


def said(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a user who says these blocks."""
    return [{"role": "user", "content": list(blocks)}]


def read(**fields: Any) -> anthropic_bodies.Message:
    """A body."""
    sent = {"model": "ops", "max_tokens": 9, "messages": [ASK], **fields}
    body: anthropic_bodies.Message = READER.read(json.dumps(sent).encode())
    return body


def asked(**fields: Any) -> Chat:
    """Its conversation."""
    return read(**fields).input()


def test_a_conversation_with_tools_keeps_its_order() -> None:
    """Reasoning, text and calls of the assistant; results before what the user says with them."""
    chat = asked(
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            ASK,
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Look first.", "signature": "x"},
                {"type": "text", "text": "One moment."},
                USE,
            ]},
            {"role": "user", "content": [
                FAILED,
                {"type": "text", "text": "And 18?"},
            ]},
        ],
        tools=[LOOK],
    )  # fmt: skip
    assert chat.messages == (
        Message("system", "Be brief."),
        Message("user", "Where is order 17?"),
        Message(
            "assistant", "One moment.", "Look first.", (Call("toolu_1", "look", '{"order":17}'),)
        ),
        Message("tool", "Error: no such order", call_id="toolu_1"),
        Message("user", "And 18?"),
    )
    assert [tool.name for tool in chat.tools] == ["look"]


@pytest.mark.parametrize(
    ("sent", "choice", "only", "parallel"),
    [
        (None, "auto", "", None),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", "", False),
        ({"type": "any"}, "required", "", None),
        ({"type": "tool", "name": "look"}, "required", "look", None),
        ({"type": "none"}, "none", "", None),
    ],
)
def test_the_choice_of_tools_is_openais(
    sent: Any, choice: str, only: str, parallel: bool | None
) -> None:
    """In the words of a job."""
    chat = asked(tools=[LOOK], tool_choice=sent)
    assert (chat.tool_choice, chat.only_tool, chat.parallel_calls) == (choice, only, parallel)


@pytest.mark.parametrize(
    ("thinking", "budget"),
    [
        (None, None),
        ({"type": "adaptive"}, None),
        ({"type": "enabled", "budget_tokens": 1024}, 1024),
        ({"type": "disabled"}, 0),
    ],
)
def test_thinking_is_a_budget(thinking: Any, budget: int | None) -> None:
    """None of it is a budget of nothing."""
    assert read(thinking=thinking).shows_thoughts
    assert read(thinking=thinking).options() == Options(max_tokens=9, thinking_budget=budget)


def test_thoughts_may_be_left_out() -> None:
    """Whatever they may cost."""
    omitted = {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}
    assert not read(thinking=omitted).shows_thoughts


def test_a_message_of_the_system_is_part_of_the_users_turn() -> None:
    """Claude Code adds them in the middle, where most chat templates refuse a system message."""
    told = {"role": "system", "content": [{"type": "text", "text": "Orders are numbers."}]}
    chat = asked(system="Be brief.", messages=[ASK, told])
    assert chat.messages == (
        Message("system", "Be brief."),
        Message("user", "Where is order 17?\nOrders are numbers."),
    )


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [({"type": "adaptive"}, "high"), ({"type": "disabled"}, None), (None, None)],
)
def test_effort_is_how_much_to_reason_where_that_is_asked_for(
    thinking: Any, effort: str | None
) -> None:
    """It asks for no reasoning by itself."""
    assert asked(thinking=thinking, output_config={"effort": "high"}).effort == effort


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"messages": said({"type": "image"})}, "messages[0].content[0]"),
        ({"messages": said(USE)}, "messages[0].content[0]"),
        ({"messages": said(RESULT)}, "messages[0].content[0].tool_use_id"),
        ({"messages": said()}, "messages"),
        ({"messages": said(), "system": "Be brief."}, "messages"),
        ({"messages": [ASK, {"role": "assistant", "content": [USE]}]}, "messages"),
        ({"tools": [{"type": "web_search_20250305", "name": "web"}]}, "tools[0].type"),
        ({"tools": [LOOK, LOOK]}, "tools[1].name"),
        ({"tools": [{**LOOK, "input_schema": {"type": "array"}}]}, "tools[0].input_schema.type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": {"type": "tool", "name": "ask"}}, "tool_choice.name"),
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ({"nonsense": 1}, "nonsense"),
        ({"temperature": 3}, "temperature"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_place(fields: dict[str, Any], where: str) -> None:
    """Never ignored in silence."""
    with pytest.raises(errors.BadRequest) as refused:
        asked(**fields)
    assert refused.value.param == where


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"output_format": {"type": "json_schema", "schema": LOOK}}, "output_format.schema"),
        ({"output_config": {"format": {"type": "json_schema", "schema": LOOK}}},
         "output_config.format.schema"),
    ],
)  # fmt: skip
def test_the_format_of_an_answer_is_a_constraint(fields: dict[str, Any], field: str) -> None:
    """Under the older and the newer name."""
    constraint = read(**fields).options().constraint
    assert constraint is not None
    assert (constraint.kind, constraint.field) == ("json_schema", field)
    assert json.loads(constraint.source) == LOOK


def test_a_format_without_a_schema_is_refused() -> None:
    """With the place where it belongs."""
    with pytest.raises(errors.BadRequest) as refusal:
        read(output_format={"type": "json_schema"}).options()
    assert refusal.value.param == "output_format.schema"
