"""Answers as documents: what OpenAI's types read, and what no line reader breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion import ChoiceLogprobs

from engine.execution.answers import Answer, Choice
from engine.execution.job import (
    CallDelta,
    Delta,
    Echoed,
    Finished,
    Logprob,
    PromptToken,
    TokenLogprob,
    Vectors,
)
from engine.gateway import completions, streaming
from engine.gateway.embedding_format import EmbeddingFormat
from engine.gateway.formats import Head
from engine.gateway.openai_format import ChatFormat, TextFormat, quoted
from tests.engine.execution import jobs

HEAD = Head(id="1", created=7, model="ops", fingerprint="fp_1")
LOGPROB = TokenLogprob(Logprob(b"\xc3", float("-inf")), (Logprob("ä".encode(), -0.5),))


def answer(choices: int) -> Answer:
    """Two prompts of 10 and 11 tokens, all choices finished."""
    one = Answer(jobs.job("a", "b", n=choices // 2), [])
    for index in range(choices):
        one.end(Finished(index, "stop", 10 + index // 2, 3, 0, 0))
    return one


def event(raw: bytes) -> Any:
    """What an event carries."""
    assert raw.startswith(b"data: ")
    assert raw.endswith(b"\n\n")
    return json.loads(raw[6:])


@given(st.text())
def test_text_survives_and_holds_no_line_end(text: str) -> None:
    """Whatever a reader takes for the end of a line."""
    text = text.encode("utf-8", "replace").decode()
    raw = quoted(text)
    assert json.loads(raw) == text
    assert len(raw.decode().splitlines()) == 1


@pytest.mark.parametrize("text", ["\u2028", "a\x85b", "\n\r\x1b[31m", '"\\'])
def test_a_chunk_is_one_event(text: str) -> None:
    """With the text as it was."""
    raw = ChatFormat(HEAD).chunk(0, text, [])
    chunk = ChatCompletionChunk.model_validate(event(raw))
    assert chunk.choices[0].delta.content == text
    assert raw.decode().splitlines() == [raw.decode().rstrip("\n"), ""]


def test_chat_chunks_are_what_openai_reads() -> None:
    """Opening, piece with logprobs, ending, closing."""
    format = ChatFormat(HEAD, usage=True)
    opening = ChatCompletionChunk.model_validate(event(format.opening(Choice(0))))
    assert opening.choices[0].delta.role == "assistant"
    piece = ChatCompletionChunk.model_validate(event(format.chunk(0, "ä", [LOGPROB])))
    assert piece.choices[0].logprobs is not None
    (entry,) = piece.choices[0].logprobs.content or []
    assert (entry.token, entry.logprob, entry.bytes) == ("\ufffd", -9999.0, [0xC3])
    assert [other.token for other in entry.top_logprobs] == ["ä"]
    raw = format.ending(Finished(0, "length", 0, 0, 0, 0))
    ending = ChatCompletionChunk.model_validate(event(raw))
    assert ending.choices[0].finish_reason == "length"


def test_calls_and_reasoning_are_what_openai_reads() -> None:
    """One entry for each call in a chunk; the id and the name in its first alone."""
    format = ChatFormat(HEAD)
    first = CallDelta(0, "call_1", "weather", '{"city"')
    more = CallDelta(0, "", "", ': "Rome"')
    both = Delta(0, "", 1, (), 5, "Look.", (first, more))
    reasoning, calls = streaming.chunks(format, (both,)).split(b"\n\n", 1)
    assert event(reasoning + b"\n\n")["choices"][0]["delta"] == {"reasoning_content": "Look."}
    chunk = ChatCompletionChunk.model_validate(event(calls))
    (call,) = chunk.choices[0].delta.tool_calls or []
    assert call.function is not None
    assert (call.index, call.id, call.type) == (0, "call_1", "function")
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Rome"')
    later = event(format.calls(0, [CallDelta(0, "", "", "}")]))
    assert later["choices"][0]["delta"]["tool_calls"] == [
        {"index": 0, "function": {"arguments": "}"}}
    ]


def test_a_whole_answer_with_calls_has_no_content() -> None:
    """Null, as OpenAI writes it, where the model said nothing besides."""
    one = Answer(jobs.chat("a"), [])
    parts = (CallDelta(0, "call_1", "weather", "{"), CallDelta(0, "", "", "}"))
    one.add((Delta(0, "", 1, (), 5, "Look.", parts), Finished(0, "tool_calls", 3, 2, 0, 0)))
    document = ChatCompletion.model_validate_json(ChatFormat(HEAD).whole(one))
    message = document.choices[0].message
    (call,) = message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", "{}")
    assert message.content is None
    assert message.model_extra == {"reasoning_content": "Look."}
    assert document.choices[0].finish_reason == "tool_calls"
    assert one.text == "weather({})"
    assert document.usage is not None
    assert document.usage.completion_tokens_details is not None
    assert document.usage.completion_tokens_details.reasoning_tokens == 1


def test_many_events_of_a_batch_become_one_chunk_for_each_choice() -> None:
    """With all of the text, in order."""
    events = tuple(Delta(n % 2, str(n), 1, (), n) for n in range(6))
    raw = streaming.chunks(ChatFormat(HEAD), events).split(b"\n\n")[:-1]
    texts = [event(each + b"\n\n")["choices"][0]["delta"]["content"] for each in raw]
    assert texts == ["024", "135"]


def test_a_prompt_that_several_choices_answer_counts_once() -> None:
    """Two prompts of 10 and 11 tokens, two answers each."""
    format = TextFormat(HEAD, usage=True)
    closing = format.closing(answer(4))
    usage, done = closing.split(b"\n\n", 1)
    assert done == b"data: [DONE]\n\n"
    said = Completion.model_validate(event(usage + b"\n\n")).usage
    assert said is not None
    assert (said.prompt_tokens, said.completion_tokens, said.total_tokens) == (21, 12, 33)


def test_offsets_go_on_from_chunk_to_chunk() -> None:
    """Where each token begins in the text."""
    format = TextFormat(HEAD)
    chosen = TokenLogprob(Logprob(b"one", -1.0), ())
    offsets = [
        event(format.chunk(0, "one", [chosen]))["choices"][0]["logprobs"]["text_offset"]
        for _ in range(3)
    ]
    assert offsets == [[0], [3], [6]]


def test_alternatives_that_look_alike_are_all_there() -> None:
    """Halves of characters by their bytes, and a text that two tokens share."""
    raws = (b"\xc3", b"\xe2", b"a", b"a", "ä".encode())
    top = tuple(Logprob(raw, -float(place)) for place, raw in enumerate(raws, 1))
    format = TextFormat(HEAD)
    chunk = event(format.chunk(0, "", [TokenLogprob(Logprob(b"\xe2", -2.0), top)]))
    logprobs = (
        Completion.model_validate(
            {**chunk, "usage": None, "choices": [{**chunk["choices"][0], "finish_reason": "stop"}]}
        )
        .choices[0]
        .logprobs
    )
    assert logprobs is not None
    assert logprobs.tokens == ["bytes:\\xe2"]
    assert logprobs.top_logprobs == [
        {"bytes:\\xc3": -1.0, "bytes:\\xe2": -2.0, "a": -3.0, "bytes:\\x61": -4.0, "ä": -5.0}
    ]


def long_answer(tokens: int) -> Answer:
    """Two choices of so many tokens, each with twenty alternatives."""
    made = answer(2)
    top = tuple(Logprob(f" {n}".encode(), -0.1 * n) for n in range(20))
    for choice in made.choices:
        choice.parts.append("x")
        choice.logprobs += [TokenLogprob(top[n % 20], top) for n in range(tokens)]
    return made


@pytest.mark.parametrize(
    ("kind", "type_"), [(ChatFormat, ChatCompletion), (TextFormat, Completion)]
)
@pytest.mark.parametrize("tokens", [0, 1, 64, 65, 400])
def test_a_long_answer_is_made_of_short_pieces(
    kind: type[ChatFormat | TextFormat], type_: type[ChatCompletion | Completion], tokens: int
) -> None:
    """One document all the same, with an entry for each token."""
    made = long_answer(tokens)
    pieces = list(kind(HEAD).pieces(made))
    assert max(map(len, pieces)) < 200_000
    document = type_.model_validate(json.loads(b"".join(pieces)))
    assert [choice.index for choice in document.choices] == [0, 1]
    for choice in document.choices:
        found = choice.logprobs
        if found is None:
            assert tokens == 0
        elif isinstance(found, ChoiceLogprobs):
            assert found.content is not None
            assert [one.token for one in found.content] == [f" {n % 20}" for n in range(tokens)]
            assert {len(one.top_logprobs) for one in found.content} == {20}
        else:
            assert found.tokens == [f" {n % 20}" for n in range(tokens)]
            assert found.text_offset is not None
            assert found.text_offset[:3] == [0, 2, 4][:tokens]
            assert len(found.text_offset) == len(found.top_logprobs or ()) == tokens


async def turns_beside(work: Awaitable[bytes]) -> int:
    """How many turns of the event loop others have meanwhile."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await work
    beside.cancel()
    return turns


def long_prompt(tokens: int) -> Echoed:
    """A prompt that comes back, with twenty alternatives for each of so many tokens."""
    top = tuple(Logprob(f" {n}".encode(), -0.1 * n) for n in range(20))
    rest = (PromptToken(b" \xe2\x80\xa8", -0.5, top) for _ in range(tokens - 1))
    return Echoed(1, "x\u2028", (PromptToken(b"<s>", None, (), hidden=True), *rest))


async def test_others_have_their_turn_while_a_long_answer_is_written() -> None:
    """Between its pieces; the event loop is never held for all of it."""
    made = completions.document(ChatFormat(HEAD), long_answer(640))
    assert await turns_beside(made) >= 20


async def test_others_have_their_turn_while_a_long_prompt_comes_back_in_a_stream() -> None:
    """One of a hundred thousand tokens took a second."""
    made = streaming.gathered(TextFormat(HEAD).echoed(long_prompt(640)))
    assert await turns_beside(made) >= 8


async def test_others_have_their_turn_between_many_short_vectors() -> None:
    """None of which takes long by itself."""
    made = Answer(jobs.job("a"), [])
    made.add([Vectors(b"\0" * 4 * 64 * 2048, 64), Finished(0, "stop", 2048, 0, 0, 0)])
    document = completions.document(EmbeddingFormat(HEAD, as_base64=False), made)
    assert await turns_beside(document) >= 10


@pytest.mark.parametrize("tokens", [1, 2, 65])
def test_a_prompt_in_a_stream_is_one_event(tokens: int) -> None:
    """With all that a whole answer says of it; the answer's offsets go on from its end."""
    format = TextFormat(HEAD)
    raw = b"".join(format.echoed(long_prompt(tokens)))
    assert len(raw.decode().splitlines()) == 2
    (choice,) = event(raw)["choices"]
    assert (choice["index"], choice["text"], choice["finish_reason"]) == (1, "x\u2028", None)
    found = choice["logprobs"]
    assert found["tokens"] == ["<s>", *[" \u2028"] * (tokens - 1)]
    assert found["token_logprobs"] == [None, *[-0.5] * (tokens - 1)]
    assert found["text_offset"] == [0, *range(0, 2 * tokens - 2, 2)]
    (after,) = event(format.chunk(1, "y", [LOGPROB]))["choices"]
    assert after["logprobs"]["text_offset"] == [2 * tokens - 2]


def test_a_prompt_is_told_by_the_ids_of_its_tokens() -> None:
    """As vLLM does: nothing of the first, and a rank only where the alternatives show it."""
    likely = (Logprob(b" a", -0.5, 7), Logprob(b"\xc3", -1.0, 8))
    scored = (
        PromptToken(b"x", None, (), token=4),
        PromptToken(b" a", -0.5, likely, token=7),
        PromptToken(b" z", float("-inf"), likely, token=9),
    )
    one = Answer(jobs.job("x a z"), [])
    one.add([Echoed(0, "", (), scored), Finished(0, "length", 3, 0, 0, 0)])
    (choice,) = json.loads(TextFormat(HEAD).whole(one))["choices"]
    a = {"logprob": -0.5, "rank": 1, "decoded_token": " a"}
    half = {"logprob": -1.0, "rank": 2, "decoded_token": "\ufffd"}
    z = {"logprob": -9999.0, "rank": None, "decoded_token": " z"}
    assert choice["prompt_logprobs"] == [None, {"7": a, "8": half}, {"9": z, "7": a, "8": half}]
    assert (choice["text"], choice["logprobs"]) == ("", None)


def test_tokens_are_named_by_their_ids_where_that_is_asked_for() -> None:
    """In both kinds of completion, the alternatives, too."""
    top = (Logprob(b" a", -0.5, 7), Logprob(b"\xc3", -1.0, 8))
    told = TokenLogprob(top[0], top)
    text = event(TextFormat(HEAD, token_ids=True).chunk(0, " a", [told]))["choices"][0]["logprobs"]
    assert (text["tokens"], text["top_logprobs"]) == (
        ["token_id:7"],
        [{"token_id:7": -0.5, "token_id:8": -1.0}],
    )
    chat = event(ChatFormat(HEAD, token_ids=True).chunk(0, " a", [told]))["choices"][0]["logprobs"]
    (entry,) = chat["content"]
    assert [each["token"] for each in entry["top_logprobs"]] == ["token_id:7", "token_id:8"]
    assert entry["bytes"] == [*b" a"]


@pytest.mark.parametrize("usage", [True, False])
def test_timings_come_with_the_end_of_an_answer(usage: bool) -> None:
    """In the chunk that has the usage, or in one of their own; whole answers have the same."""
    job = jobs.job("a", arrived_us=1_000)
    one = Answer(job, [])
    one.add([Delta(0, "b", 1, (), 9_000), Finished(0, "stop", 4, 1, 5_000, 0)])
    format = ChatFormat(HEAD, usage=usage, arrived_us=job.arrived_us)
    raw = format.closing(one).removesuffix(b"data: [DONE]\n\n")
    last = ChatCompletionChunk.model_validate(event(raw))
    assert (last.choices, last.usage is not None) == ([], usage)
    assert last.model_extra is not None
    assert last.model_extra["timings"]["prompt_ms"] == 3.0
    assert json.loads(format.whole(one))["timings"] == last.model_extra["timings"]
