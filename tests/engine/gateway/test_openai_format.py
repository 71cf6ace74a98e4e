"""Answers as documents: what OpenAI's types read, and what no line reader breaks."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk

from engine.backends.worker_client import WorkerClient
from engine.execution import calls
from engine.execution.calls import Choice, Flight
from engine.gateway.openai_format import ChatPaper, Head, TextPaper, quoted
from engine.serving import wire

HEAD = Head(id="1", created=7, model="ops", fingerprint="fp_1", prompts=2, usage=True)
LOGPROB = wire.TokenLogprob(
    wire.Logprob(b"\xc3", float("-inf")), (wire.Logprob("ä".encode(), -0.5),)
)


def choices(count: int) -> list[Choice]:
    """Finished choices that nobody computed."""
    flight = Flight(
        cast("WorkerClient", None), choices=count, streams=True, gaps=[], now_us=lambda: 0
    )
    for choice in flight.choices:
        choice.finish = wire.Finished(1, "stop", 10 + choice.index // 2, 3, 0, 0, 0)
    return flight.choices


def event(raw: bytes) -> Any:
    """What an event carries."""
    assert raw.startswith(b"data: ")
    assert raw.endswith(b"\n\n")
    return json.loads(raw[6:])


@pytest.mark.parametrize(
    ("prompts", "counts", "total"),
    [
        (1, [10, 10], 10),
        (2, [10, 20], 30),
        (2, [10, 10, 20, 20], 30),
        (2, [None, 10, 20, None], 30),
        (2, [None, None, 20, None], 20),
    ],
)
def test_each_prompt_counts_once(prompts: int, counts: list[int | None], total: int) -> None:
    """However many choices answer it, and whichever of them have ended."""
    many = choices(len(counts))
    for choice, count in zip(many, counts, strict=True):
        ended = None if count is None else wire.Finished(1, "stop", count, 3, 0, 0, 0)
        choice.finish = ended
    assert calls.prompt_tokens(many, prompts) == total


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
    (choice,) = choices(1)
    raw = ChatPaper(HEAD).chunk(choice, text, [])
    chunk = ChatCompletionChunk.model_validate(event(raw))
    assert chunk.choices[0].delta.content == text
    assert raw.decode().splitlines() == [raw.decode().rstrip("\n"), ""]


def test_chat_chunks_are_what_openai_reads() -> None:
    """Opening, piece with logprobs, ending, closing."""
    paper = ChatPaper(HEAD)
    (choice,) = choices(1)
    opening = ChatCompletionChunk.model_validate(event(paper.opening(0)))
    assert opening.choices[0].delta.role == "assistant"
    piece = ChatCompletionChunk.model_validate(event(paper.chunk(choice, "ä", [LOGPROB])))
    assert piece.choices[0].logprobs is not None
    (entry,) = piece.choices[0].logprobs.content or []
    assert (entry.token, entry.logprob, entry.bytes) == ("\ufffd", -9999.0, [0xC3])
    assert [other.token for other in entry.top_logprobs] == ["ä"]
    ending = ChatCompletionChunk.model_validate(event(paper.ending(0, "length")))
    assert ending.choices[0].finish_reason == "length"


def test_a_prompt_that_several_choices_answer_counts_once() -> None:
    """Two prompts of 10 and 11 tokens, two answers each."""
    paper = TextPaper(HEAD)
    closing = paper.closing(choices(4))
    usage, done = closing.split(b"\n\n", 1)
    assert done == b"data: [DONE]\n\n"
    said = Completion.model_validate(event(usage + b"\n\n")).usage
    assert said is not None
    assert (said.prompt_tokens, said.completion_tokens, said.total_tokens) == (21, 12, 33)


def test_offsets_go_on_from_chunk_to_chunk() -> None:
    """Where each token begins in the text."""
    paper = TextPaper(HEAD)
    (choice,) = choices(1)
    chosen = wire.TokenLogprob(wire.Logprob(b"one", -1.0), ())
    offsets = [
        event(paper.chunk(choice, "one", [chosen]))["choices"][0]["logprobs"]["text_offset"]
        for _ in range(3)
    ]
    assert offsets == [[0], [3], [6]]
