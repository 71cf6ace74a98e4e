"""Messages as documents and events: what Anthropic's accumulator makes of them."""

from __future__ import annotations

import json
from typing import Any

from engine.execution.answers import Answer, Choice
from engine.execution.job import CallDelta, Delta, Event, Finished
from engine.gateway import streaming
from engine.gateway.anthropic_format import MessageFormat
from engine.gateway.formats import Head
from tests.engine.execution import jobs

HEAD = Head(id="1", created=7, model="ops", fingerprint="fp_1")
EVENTS: list[Event] = [
    Delta(0, "", 1, (), 1, reasoning="Which order? "),
    Delta(0, "", 1, (), 2, reasoning="17."),
    Delta(0, "I shall look.", 3, (), 3),
    Delta(0, "", 1, (), 4, calls=(CallDelta(0, "call_1", "look", ""),)),
    Delta(0, "", 1, (), 5, calls=(CallDelta(0, "", "", '{"order":'),)),
    Delta(
        0, "", 1, (), 6, calls=(CallDelta(0, "", "", "17}"), CallDelta(1, "call_2", "ask", "{}"))
    ),
    Finished(0, "tool_calls", 12, 9, 0, 0, cached_tokens=4),
]


def answered(events: list[Event]) -> Answer:
    """An answer that has these events."""
    answer = Answer(jobs.job("a"), [])
    answer.add(events)
    return answer


def accumulated(events: list[Event], *, thoughts: bool = True) -> dict[str, Any]:
    """The message that the events of a stream add up to, as Anthropic describes it."""
    format = MessageFormat(HEAD, thoughts=thoughts)
    raw = format.opening(Choice(0))
    raw += b"".join(streaming.chunks(format, (event,)) for event in events)
    raw += format.closing(answered(events))
    message: dict[str, Any] = {}
    texts: dict[int, list[str]] = {}
    for part in raw.decode().removesuffix("\n\n").split("\n\n"):
        name, data = part.split("\n")
        said = json.loads(data.removeprefix("data: "))
        assert name == f"event: {said['type']}"
        match said["type"]:
            case "message_start":
                message = said["message"]
            case "content_block_start":
                assert said["index"] == len(message["content"]) == len(texts)
                message["content"].append(said["content_block"])
                texts[said["index"]] = []
            case "content_block_delta":
                assert said["index"] == len(message["content"]) - 1
                ((_, text),) = {k: v for k, v in said["delta"].items() if k != "type"}.items()
                texts[said["index"]].append(text)
            case "message_delta":
                message |= said["delta"]
                message["usage"] |= said["usage"]
    for block, pieces in zip(message["content"], texts.values(), strict=True):
        if block["type"] == "tool_use":
            block["input"] = json.loads("".join(pieces) or "{}")
        else:
            block[block["type"]] = "".join(pieces)
    return message


def test_a_stream_has_the_blocks_of_the_whole() -> None:
    """Reasoning, text and two calls, the reason and the counts."""
    from anthropic.types import Message  # noqa: PLC0415 a second and a half, which every worker that collects would take

    whole = json.loads(MessageFormat(HEAD).whole(answered(EVENTS)))
    assert accumulated(EVENTS) == whole
    assert [block["type"] for block in whole["content"]] == [
        "thinking", "text", "tool_use", "tool_use",
    ]  # fmt: skip
    assert whole["content"][2]["input"] == {"order": 17}
    assert (whole["stop_reason"], whole["usage"]["input_tokens"]) == ("tool_use", 8)
    assert Message.model_validate(whole).usage.cache_read_input_tokens == 4


def test_a_call_that_was_cut_has_the_arguments_that_are_there() -> None:
    """A whole message cannot hold half of an object."""
    events: list[Event] = [
        Delta(0, "", 1, (), 1, calls=(CallDelta(0, "call_1", "look", '{"order":17,"why":"la'),)),
        Finished(0, "length", 5, 2, 0, 0),
    ]
    whole = json.loads(MessageFormat(HEAD).whole(answered(events)))
    assert whole["content"][0]["input"] == {"order": 17}
    assert whole["stop_reason"] == "max_tokens"


def test_an_empty_answer_has_no_blocks() -> None:
    """And its stream is well-formed."""
    assert accumulated([Finished(0, "stop", 5, 1, 0, 0)])["content"] == []


def test_reasoning_that_is_not_to_be_shown_is_empty() -> None:
    """Its block is there all the same, in a stream and in the whole."""
    whole = json.loads(MessageFormat(HEAD, thoughts=False).whole(answered(EVENTS)))
    assert accumulated(EVENTS, thoughts=False) == whole
    assert whole["content"][0] == {"type": "thinking", "thinking": "", "signature": ""}
    assert whole["content"][1] == {"type": "text", "text": "I shall look."}
