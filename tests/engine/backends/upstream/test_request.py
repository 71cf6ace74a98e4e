"""A job as the body of a request to another server."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from engine.backends.upstream import constraint as constraints
from engine.backends.upstream import request
from engine.execution import failures
from engine.execution.job import Call, Chat, Constraint, Message, Sampling, Tool
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


def test_the_conversation_of_many_choices_is_encoded_once() -> None:
    """Ten thousand messages a hundred times took seconds in which nothing else happened."""
    chat = Chat((Message("user", "Rome?"), CALLED), tools=(WEATHER,), effort="low")
    job = jobs.job(input=chat, n=2)
    encoded = request.conversation(job)
    assert {type(value) for value in encoded.values()} == {msgspec.Raw}
    for index in range(2):
        whole = request.of(job, index, model="m", extensions=True)
        assert request.of(job, index, model="m", extensions=True, encoded=encoded) == whole
    assert request.conversation(jobs.job("a", n=2)) == {}


def test_how_much_to_reason_is_passed_on() -> None:
    """Only where the client said it."""
    plain = (Message("user", "Rome?"),)
    sent = body(Chat(plain, effort="low"), thinking_budget=32)
    assert (sent["reasoning_effort"], sent["thinking_budget"]) == ("low", 32)
    assert {"reasoning_effort", "thinking_budget", "tools"}.isdisjoint(body(Chat(plain)))


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("prompt_logprobs", {"prompt_logprobs": 0}),
        ("return_tokens_as_token_ids", {"token_ids": True, "logprobs": 1}),
    ],
)
def test_what_needs_ids_of_tokens_is_refused_by_name(field: str, asked: dict[str, Any]) -> None:
    """Servers name tokens by their texts, and two tokens may have the same."""
    with pytest.raises(failures.Invalid) as caught:
        request.of(jobs.job("a", **asked), 0, model="m", extensions=True)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", field)


def test_ids_are_not_asked_for_where_no_logprobs_are() -> None:
    """Clients send `return_tokens_as_token_ids` with every request."""
    request.check(jobs.job("a", token_ids=True), 0, extensions=True, made_by="")


def test_an_end_to_ignore_is_passed_on() -> None:
    """vLLM, SGLang and llama-server all read it; a server of OpenAI's fields alone does not."""
    job = jobs.job("a", sampling=Sampling(0.0, 0, 1.0, 0.0, 1, ignore_eos=True))
    request.check(job, 0, extensions=True, made_by="llamacpp")
    sent = msgspec.json.decode(request.of(job, 0, model="m", extensions=True).body)
    assert sent["ignore_eos"] is True
    assert "min_tokens" not in sent
    with pytest.raises(failures.Invalid) as caught:
        request.check(job, 0, extensions=False, made_by="")
    assert caught.value.param == "ignore_eos"


SERVERS = ("", "vllm", "sglang", "llamacpp", "paddock")


def bound(constraint: Constraint, made_by: str, *, chat: bool) -> dict[str, Any] | None:
    """The fields of a constraint; None where it is refused."""
    try:
        return constraints.fields(constraint, made_by=made_by, chat=chat)
    except failures.Invalid as failure:
        return None if failure.param == constraint.field else {}


def test_a_schema_is_sent_as_openai_has_it() -> None:
    """In a chat to anyone; for a text under llama-server's name, and to none that is unknown."""
    schema = Constraint("json_schema", '{"type":"integer"}', "guided_json")
    named = {"name": "answer", "schema": {"type": "integer"}, "strict": True}
    openai = {"response_format": {"type": "json_schema", "json_schema": named}}
    for server in SERVERS:
        sent = msgspec.json.decode(msgspec.json.encode(bound(schema, server, chat=True)))
        assert sent == openai
    found = bound(schema, "llamacpp", chat=False)
    assert msgspec.json.encode(found) == b'{"json_schema":{"type":"integer"}}'
    assert bound(schema, "", chat=False) is None
    any_ = Constraint("json_schema", '{"type": "object"}', "response_format")
    assert bound(any_, "", chat=True) == {"response_format": {"type": "json_object"}}


def test_white_space_of_json_is_sent_only_to_servers_that_have_a_field_for_it() -> None:
    """vLLM's; the others are refused."""
    spaced = Constraint("json_schema", "{}", "guided_json", spacing=" ?")
    found = {server: bound(spaced, server, chat=True) for server in SERVERS}
    sent = b'{"structured_outputs":{"json":{},"whitespace_pattern":" ?"}}'
    assert {server for server, fields in found.items() if fields} == {"vllm", "paddock"}
    assert msgspec.json.encode(found["vllm"]) == sent
    assert constraints.needs_maker(spaced, chat=True)


def test_other_constraints_have_the_name_that_the_server_reads_or_are_refused() -> None:
    """A server ignores in silence what it does not know."""
    regex = Constraint("regex", "a|b", "guided_regex")
    choice = Constraint("choice", '["a.b","c\\"d"]', "guided_choice")
    grammar = Constraint("grammar", 'root ::= "a"', "grammar")
    found = {
        server: [bound(each, server, chat=True) for each in (regex, choice, grammar)]
        for server in SERVERS
    }
    ours = [
        {"structured_outputs": {"regex": "a|b"}},
        {"structured_outputs": {"choice": ["a.b", 'c"d']}},
        {"structured_outputs": {"grammar": 'root ::= "a"'}},
    ]
    assert found == {
        "": [None, None, None],
        "vllm": ours,
        "paddock": ours,
        "sglang": [{"regex": "a|b"}, {"regex": 'a\\.b|c"d'}, {"ebnf": 'root ::= "a"'}],
        "llamacpp": [
            None, {"grammar": 'root ::= "a.b" | "c\\"d"'}, {"grammar": 'root ::= "a"'},
        ],
    }  # fmt: skip
