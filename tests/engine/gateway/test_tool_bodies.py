"""What a chat body says of tools, and what is refused with the name of its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.execution import job
from engine.gateway import errors, request_bodies

CHAT = request_bodies.Reader(request_bodies.Chat)
ASK = {"role": "user", "content": "Is it warm in Rome?"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Today's weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWERED = {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"}


def chat(**fields: Any) -> job.Chat:
    """The conversation of a body."""
    body = {"model": "ops", "messages": [ASK], **fields}
    read: request_bodies.Chat = CHAT.read(json.dumps(body).encode())
    return read.input()


def tool(name: str = "weather", **fields: Any) -> dict[str, Any]:
    """A tool with other fields."""
    return {"type": "function", "function": {"name": name, **fields}}


def test_tools_and_their_use_become_a_conversation() -> None:
    """An assistant's call and the tool's answer keep their ids."""
    made = chat(messages=[ASK, {**CALLED, "reasoning_content": "Look it up."}, ANSWERED],
                tools=[WEATHER])  # fmt: skip
    _, called, answered = made.messages
    assert called == job.Message(
        "assistant", "", "Look it up.", (job.Call("call_1", "weather", "{}"),)
    )
    assert (answered.role, answered.call_id, answered.content) == ("tool", "call_1", "21 degrees")
    assert made.tools[0].parameters == WEATHER["function"]["parameters"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("sent", "choice", "only"),
    [
        (None, "auto", ""),
        ("none", "none", ""),
        ("required", "required", ""),
        ({"type": "function", "function": {"name": "weather"}}, "required", "weather"),
    ],
)
def test_a_named_tool_is_required(sent: Any, choice: str, only: str) -> None:
    """The other choices are what they say."""
    made = chat(tools=[WEATHER], tool_choice=sent)
    assert (made.tool_choice, made.only_tool) == (choice, only)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [tool(f"t{n}") for n in range(200)]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool("a b")]}, "tools[0].function.name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
        ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters"),
        ({"tools": [tool(parameters={"type": "string"})]}, "tools[0].function.parameters.type"),
        ({"tools": [tool(parameters={"properties": {"a": {"type": "text"}}})]},
         "tools[0].function.parameters.properties.a.type"),
        ({"tools": [tool(parameters={"properties": {"a": {"type": {}}}})]},
         "tools[0].function.parameters.properties.a.type"),
        ({"tools": [tool(parameters={"properties": {"a": {"type": ["null", []]}}})]},
         "tools[0].function.parameters.properties.a.type"),
        ({"tools": [tool(parameters={"required": "a"})]},
         "tools[0].function.parameters.required"),
        ({"tools": [tool(parameters={"properties": {"a": {"anyOf": [1]}}})]},
         "tools[0].function.parameters.properties.a.anyOf[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
         "tool_choice.function.name"),
        ({"messages": [{**ASK, "tool_calls": [CALL]}]}, "messages[0].tool_calls"),
        ({"messages": [ASK, ANSWERED]}, "messages[1].tool_call_id"),
        ({"messages": [CALLED, {"role": "tool", "content": "21"}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "function", "name": "f", "content": "21"}]}, "messages[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [
            {"id": "1", "function": {"name": "f", "arguments": "{}}"}}]}]},
         "messages[0].tool_calls[0].function.arguments"),
        ({"messages": [{"role": "assistant", "tool_calls": [
            {"id": "1", "function": {"name": "f", "arguments": "[" * 2000}}]}]},
         "messages[0].tool_calls[0].function.arguments"),
        ({"messages": [{"role": "assistant", "tool_calls": [
            {"id": "1", "function": {"name": "f",
                                     "arguments": '{"a":' + "[" * 600 + "]" * 600 + "}"}}]}]},
         "messages[0].tool_calls[0].function.arguments"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(fields: dict[str, Any], param: str) -> None:
    """In `param`, at the start of the message, and for that request alone."""
    with pytest.raises(errors.BadRequest) as caught:
        chat(**fields)
    assert caught.value.param == param
    assert param.partition("[")[0] in caught.value.message


def test_a_call_that_its_answers_end_cut_is_taken_as_far_as_it_goes() -> None:
    """Clients send it back as they got it."""
    cut = {"id": "1", "function": {"name": "f", "arguments": '{"city": "Rome", "da'}}
    made = chat(messages=[ASK, {"role": "assistant", "tool_calls": [cut]}, ASK])
    assert [call.arguments for call in made.messages[1].calls] == ['{"city": "Rome"}']


@pytest.mark.parametrize(
    "arguments",
    [
        '{"path": "a.js", "content": "' + "if (a[0]) { b(); } " * 80,
        '{"path": "a.js", "content": "' + "if (a[0]) { b(); } " * 800 + '"}',
        '{"edits": [' + '{"a": [1]}, ' * 100,
    ],
    ids=["code", "much code", "edits"],
)
def test_a_call_may_hold_many_brackets_cut_or_whole(arguments: str) -> None:
    """Those within its texts cost nothing to decode; a refusal would end the conversation."""
    sent = {"id": "1", "function": {"name": "f", "arguments": arguments}}
    made = chat(messages=[ASK, {"role": "assistant", "tool_calls": [sent]}, ASK])
    (call,) = made.messages[1].calls
    assert isinstance(json.loads(call.arguments), dict)
    assert call.arguments.startswith(arguments[:30])


def test_only_the_tools_that_are_allowed_are_left() -> None:
    """OpenAI's `allowed_tools`: a prompt that is cached keeps its list, the choice narrows it."""

    def sent(mode: str, *names: str) -> dict[str, Any]:
        named = [{"type": "function", "function": {"name": name}} for name in names]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}

    made = chat(tools=[WEATHER, tool("a"), tool("b")], tool_choice=sent("required", "b", "weather"))
    assert [each.name for each in made.tools] == ["weather", "b"]
    assert (made.tool_choice, made.only_tool) == ("required", "")
    with pytest.raises(errors.BadRequest) as caught:
        chat(tools=[WEATHER], tool_choice=sent("auto", "weather", "x"))
    assert caught.value.param == "tool_choice.allowed_tools.tools[1].function.name"


def test_a_schema_that_is_nested_without_end_is_refused() -> None:
    """Below the depth at which Python gives up."""
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(70):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(errors.BadRequest, match="64 levels"):
        chat(tools=[tool(parameters=schema)])


def test_how_much_to_reason_is_said_in_either_way() -> None:
    """OpenAI's field, or OpenRouter's object; a budget is an option like max_tokens."""
    assert chat(reasoning_effort="low").effort == "low"
    assert chat(reasoning={"effort": "high"}).effort == "high"
    off = chat(enable_thinking=False)
    assert off.template_arguments == {"enable_thinking": False}
    own = chat(enable_thinking=False, chat_template_kwargs={"enable_thinking": True})
    assert own.template_arguments == {"enable_thinking": True}
    for fields, budget in (
        ({"thinking_budget": 64}, 64),
        ({"thinking_token_budget": 64}, 64),
        ({"thinking_budget_tokens": 0}, 0),
        ({"reasoning": {"max_tokens": 32}}, 32),
        ({"reasoning": {"enabled": False}}, 0),
        ({}, None),
    ):
        raw = json.dumps({"model": "ops", "messages": [ASK], **fields}).encode()
        assert CHAT.read(raw).options().thinking_budget == budget
