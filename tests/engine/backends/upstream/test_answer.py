"""Chunks into events, whatever the chunks hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.upstream import faults
from engine.backends.upstream.answer import CHARACTERS_PER_TOKEN, Answer
from engine.backends.upstream.sse import Event
from engine.execution import failures
from engine.execution.job import CallDelta, Delta

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "delta", "text", "content", "logprobs", "tokens", "token_logprobs",
             "top_logprobs", "finish_reason", "usage", "prompt_tokens", "error", "message",
             "code", "token", "logprob", "bytes", "tool_calls", "function", "name", "arguments",
             "index", "id", "reasoning_content"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(documents=st.lists(JSON.map(json.dumps) | st.text(max_size=20), max_size=6))
def test_nothing_that_a_server_sends_is_an_accident(documents: list[str]) -> None:
    """Events, or a failure with a code; never another exception."""
    answer = Answer("peer", 0, max_tokens=4, alternatives=2)
    code = ""
    try:
        answer.stream((Event("message", d.encode("utf-8", "replace")) for d in documents), 0)
        answer.finish()
    except failures.Failure as failure:
        code = failure.code
    assert code.startswith(("upstream_", "context_")) or answer.began


@given(body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_every_error_body_is_a_failure_with_one_line(body: bytes) -> None:
    """Whatever a proxy in between makes of it."""
    for status in (302, 400, 401, 404, 413, 422, 429, 500, 503):
        failure = faults.refusal("peer", status, {"retry-after": "soon"}, body)
        assert failure.code
        assert "\n" not in failure.message
        assert len(failure.message) < 700


def test_an_answer_is_as_long_as_was_asked_for() -> None:
    """Long tokens are none of our business; a stream without end is."""
    answer = Answer("peer", 0, max_tokens=2, alternatives=-1)
    word = json.dumps({"choices": [{"text": "x" * CHARACTERS_PER_TOKEN}]}).encode()
    assert len(answer.stream([Event("message", word)] * 2, 0)) == 2
    code = ""
    try:
        answer.stream([Event("message", word)] * 100, 0)
    except failures.Broken as failure:
        code = failure.code
    assert code == "upstream_malformed"


def chunk(reason: str | None = None, **delta: Any) -> Event:
    """A chunk of a chat."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return Event("message", json.dumps({"choices": [choice]}).encode())


def test_calls_and_reasoning_come_back_in_their_parts() -> None:
    """The id and the name once, the arguments as they arrive; some servers end with "stop"."""
    answer = Answer("peer", 0, max_tokens=20, alternatives=-1)
    first = {"index": 0, "id": "call_9", "function": {"name": "weather", "arguments": ""}}
    found = answer.stream(
        [
            chunk(role="assistant", reasoning_content="Look"),
            chunk(reasoning=" it up."),
            chunk(tool_calls=[first]),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"city"'}}]),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": ': "Rome"}'}}]),
            chunk("stop"),
        ],
        0,
    )
    assert "".join(delta.reasoning for delta in found) == "Look it up."
    parts = [part for delta in found for part in delta.calls]
    assert parts[0] == CallDelta(0, "call_9", "weather", "")
    assert [(part.id, part.name) for part in parts[1:]] == [("", ""), ("", "")]
    assert "".join(part.arguments for part in parts) == '{"city": "Rome"}'
    assert answer.finish().reason == "tool_calls"


def test_calls_of_a_whole_document_have_no_index() -> None:
    """Each is the next one; arguments that are an object become text."""
    calls = [
        {"id": "a", "function": {"name": "weather", "arguments": "{}"}},
        {"id": "b", "function": {"name": "clock", "arguments": {"zone": 1}}},
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    answer = Answer("peer", 0, max_tokens=20, alternatives=-1)
    (delta,) = answer.whole(json.dumps(body).encode(), 0)
    assert isinstance(delta, Delta)
    assert delta.calls == (
        CallDelta(0, "a", "weather", "{}"), CallDelta(1, "b", "clock", '{"zone":1}')
    )  # fmt: skip


def test_a_call_without_a_name_is_malformed() -> None:
    """There is nothing that a client could run."""
    answer = Answer("peer", 0, max_tokens=20, alternatives=-1)
    with pytest.raises(failures.Broken, match="has no name"):
        answer.stream([chunk(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}])], 0)


def test_events_without_text_are_bounded_beside_those_of_the_tokens() -> None:
    """Four thousand for one token are 80 ms of work; a server that waits sends one a second."""
    answer = Answer("peer", 0, max_tokens=2, alternatives=-1)
    empty = Event("message", b'{"choices": [{"text": ""}]}')
    assert answer.stream([empty] * 400, 0) == []
    with pytest.raises(failures.Broken, match="does not end"):
        answer.stream([empty] * 400, 0)


@pytest.mark.parametrize("count", [-1, -(2**63), 2**31, 2**63, 10**20])
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens"])
def test_a_count_of_tokens_that_cannot_be_is_a_failure(field: str, count: int) -> None:
    """Counters refuse negative figures and the store has 64 bits: neither may find out."""
    answer = Answer("peer", 0, max_tokens=2, alternatives=-1)
    body = {"choices": [{"text": "x", "finish_reason": "stop"}], "usage": {field: count}}
    with pytest.raises(failures.Broken) as failed:
        answer.whole(json.dumps(body).encode(), 0)
    assert failed.value.code == "upstream_malformed"
