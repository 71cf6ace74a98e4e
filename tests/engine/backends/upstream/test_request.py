"""A job as the body of a request to another server."""

from __future__ import annotations

import json
from typing import Any

from engine.backends.upstream import request
from engine.execution.job import Call, Chat, Message, Tool
from tests.engine.execution import jobs

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = Tool("weather", "Today's weather", SCHEMA, strict=True)
CALLED = Message("assistant", "", "Look it up.", (Call("call_1", "weather", "{}"),))


def body(chat: Chat, **fields: Any) -> Any:
    """The body for a conversation."""
    job = jobs.job(input=chat, **fields)
    return json.loads(request.of(job, 0, model="m", extensions=True).body)


def test_tools_are_passed_on_as_the_client_sent_them() -> None:
    """With the choice among them, and whether one turn may call several."""
    sent = body(Chat((Message("user", "Rome?"),), tools=(WEATHER,), tool_choice="required",
                     only_tool="weather", parallel_calls=False))  # fmt: skip
    function = {"name": "weather", "description": "Today's weather", "parameters": SCHEMA,
                "strict": True}  # fmt: skip
    assert sent["tools"] == [{"type": "function", "function": function}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent["parallel_tool_calls"] is False


def test_calls_and_their_answers_keep_their_ids() -> None:
    """A turn without content has null there, as OpenAI writes it."""
    answer = Message("tool", "21", call_id="call_1", name="weather")
    sent = body(Chat((Message("user", "Rome?"), CALLED, answer)))
    called, answered = sent["messages"][1:]
    function = {"name": "weather", "arguments": "{}"}
    assert called == {
        "role": "assistant", "content": None, "reasoning_content": "Look it up.",
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }  # fmt: skip
    assert answered == {
        "role": "tool", "content": "21", "tool_call_id": "call_1", "name": "weather",
    }  # fmt: skip


def test_how_much_to_reason_is_passed_on() -> None:
    """Only where the client said it."""
    plain = (Message("user", "Rome?"),)
    sent = body(Chat(plain, effort="low"), thinking_budget=32)
    assert (sent["reasoning_effort"], sent["thinking_budget"]) == ("low", 32)
    assert {"reasoning_effort", "thinking_budget", "tools"}.isdisjoint(body(Chat(plain)))
