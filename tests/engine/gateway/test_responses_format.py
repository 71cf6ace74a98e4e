"""Responses as documents and events: what is streamed is what is whole."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response

from engine.execution.answers import Answer, Choice
from engine.execution.job import CallDelta, Delta, Event, Finished
from engine.gateway import errors, responses_bodies, streaming
from engine.gateway.formats import Head
from engine.gateway.responses_format import ResponseFormat
from tests.engine.execution import jobs

HEAD = Head(id="1", created=7, model="ops", fingerprint="fp_1")
EVENTS: list[Event] = [
    Delta(0, "", 2, (), 1, reasoning="Which order? "),
    Delta(0, "", 1, (), 2, reasoning="17."),
    Delta(0, "I shall ", 3, (), 3),
    Delta(0, "look.", 3, (), 4),
    Delta(0, "", 1, (), 5, calls=(CallDelta(0, "call_1", "look", '{"order":'),)),
    Delta(0, "", 1, (), 6, calls=(CallDelta(0, "", "", "17}"),)),
    Delta(0, "", 1, (), 7, calls=(CallDelta(1, "call_2", "ask", "{}"),)),
    Finished(0, "tool_calls", 12, 12, 0, 0, cached_tokens=4),
]  # fmt: skip


def format() -> ResponseFormat:
    """The format of a new answer."""
    body = msgspec.convert({"model": "ops", "input": "Hello."}, responses_bodies.Response)
    return ResponseFormat(HEAD, body, jobs.job("a"))


def answered(events: list[Event]) -> Answer:
    """An answer that has these events."""
    answer = Answer(jobs.job("a"), [])
    answer.add(events)
    return answer


def streamed(events: list[Event]) -> list[dict[str, Any]]:
    """The events of the stream, in order."""
    one = format()
    raw = one.opening(Choice(0))
    raw += b"".join(streaming.chunks(one, (event,)) for event in events)
    raw += one.closing(answered(events))
    found = []
    for part in raw.decode().removesuffix("\n\n").split("\n\n"):
        name, data = part.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_a_stream_ends_with_the_whole() -> None:
    """Each item is announced once, grows by its deltas, and is repeated when it is complete."""
    whole = json.loads(format().whole(answered(EVENTS)))
    events = streamed(EVENTS)
    assert events[-1] == {
        "type": "response.completed",
        "sequence_number": len(events) - 1,
        "response": whole,
    }
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == whole["output"]
    assert [item["type"] for item in done] == [
        "reasoning", "message", "function_call", "function_call",
    ]  # fmt: skip
    for at, item in enumerate(done):
        text = "".join(
            event["delta"]
            for event in events
            if event["type"].endswith(".delta") and event["output_index"] == at
        )
        assert text in json.dumps(item, ensure_ascii=False).replace('\\"', '"')
    assert Response.model_validate(whole).usage is not None
    assert whole["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}


def test_an_answer_without_text_has_an_empty_message() -> None:
    """Whole and streamed."""
    events: list[Event] = [Finished(0, "stop", 3, 1, 0, 0)]
    (item,) = json.loads(format().whole(answered(events)))["output"]
    assert item["content"][0]["text"] == ""
    assert streamed(events)[-1]["response"]["output"] == [item]


SPAWN: Any = {
    "type": "function",
    "name": "spawn",
    "parameters": {"type": "object"},
    "strict": False,
}
AGENTS: Any = {"type": "namespace", "name": "agents", "description": "Helpers.", "tools": [SPAWN]}


def test_a_call_names_the_namespace_of_its_function() -> None:
    """Whole and streamed; to the model both are one name, in an earlier turn, too."""
    earlier = {
        "type": "function_call", "call_id": "call_0", "name": "spawn", "namespace": "agents",
        "arguments": "{}",
    }  # fmt: skip
    output = {"type": "function_call_output", "call_id": "call_0", "output": "done"}
    body = msgspec.convert(
        {"model": "ops", "input": [earlier, output], "tools": [AGENTS, SPAWN]},
        responses_bodies.Response,
    )
    chat = body.conversation(())
    assert [tool.name for tool in chat.tools] == ["agents__spawn", "spawn"]
    assert chat.messages[0].calls[0].name == "agents__spawn"
    events: list[Event] = [
        Delta(0, "", 1, (), 1, calls=(CallDelta(0, "call_1", "agents__spawn", "{}"),)),
        Delta(0, "", 1, (), 2, calls=(CallDelta(1, "call_2", "spawn", "{}"),)),
        Finished(0, "tool_calls", 2, 2, 0, 0),
    ]  # fmt: skip
    one = ResponseFormat(HEAD, body, jobs.job("a"))
    whole = json.loads(one.whole(answered(events)))
    called = [(item.get("namespace"), item["name"]) for item in whole["output"]]
    assert called == [("agents", "spawn"), (None, "spawn")]
    assert whole["tools"] == [
        {**AGENTS, "tools": [{**SPAWN, "description": None}]}, {**SPAWN, "description": None},
    ]  # fmt: skip
    raw = one.opening(Choice(0)) + b"".join(streaming.chunks(one, (event,)) for event in events)
    assert raw.count(b'"namespace":"agents"') == 2  # when it is added, and when it is done


def test_a_search_that_cannot_be_run_is_left_out_and_the_answer_shows_it() -> None:
    """Codex offers it to every model; a tool that has to be called is refused."""
    search: Any = {"type": "web_search", "external_web_access": False}
    fields: Any = {"model": "ops", "input": "Hello.", "tools": [search, SPAWN]}
    body = msgspec.convert(fields, responses_bodies.Response)
    assert [tool.name for tool in body.conversation(()).tools] == ["spawn"]
    whole = json.loads(ResponseFormat(HEAD, body, jobs.job("a")).whole(answered(EVENTS)))
    assert [tool["name"] for tool in whole["tools"]] == ["spawn"]
    chosen = msgspec.convert({**fields, "tool_choice": {"type": "web_search"}}, type(body))
    with pytest.raises(errors.BadRequest):
        chosen.conversation(())


def test_log_probabilities_that_would_be_missing_are_refused() -> None:
    """What an answer of OpenAI's need not have either is asked for in vain."""
    fields: Any = {"model": "ops", "input": "Hello."}
    reasoning = msgspec.convert(
        {**fields, "include": ["reasoning.encrypted_content"]}, responses_bodies.Response
    )
    assert reasoning.options() == msgspec.convert(fields, responses_bodies.Response).options()
    logprobs = msgspec.convert(
        {**fields, "include": ["message.output_text.logprobs"]}, responses_bodies.Response
    )
    with pytest.raises(errors.BadRequest) as caught:
        logprobs.options()
    assert caught.value.param == "include"
