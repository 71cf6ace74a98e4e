"""Embeddings and rerankings by an upstream: what it is asked, and what it may answer."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import pytest

from engine.backends.upstream import embedding, maker
from engine.execution import failures
from engine.execution.job import Embed, Finished, Rerank, Vectors
from tests.engine.backends.upstream import loopback
from tests.engine.backends.upstream.exchanges import events, exchange, failure
from tests.engine.backends.upstream.loopback import Asked, Reply
from tests.engine.execution import jobs


def embed(*texts: str | tuple[str | int, ...], **fields: Any) -> Any:
    """A job of inputs."""
    inputs = tuple((each,) if isinstance(each, str) else each for each in texts)
    return jobs.job(input=Embed(inputs, **fields))


def packed(*values: float) -> str:
    """A vector in base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


async def lengths(asked: Asked, reply: Reply) -> None:
    """A vector of each text's length, the last one first, and a token for each letter."""
    texts = asked.json["input"]
    data = [{"index": at, "embedding": packed(len(text), 1.0)} for at, text in enumerate(texts)]
    usage = {"prompt_tokens": sum(map(len, texts)), "total_tokens": 0}
    await reply.document({"object": "list", "data": data[::-1], "usage": usage})


async def test_vectors_come_back_in_the_order_of_the_inputs() -> None:
    """In requests of a bounded size, with the dimensions that were asked for."""
    texts = ["x" * (at % 7 + 1) for at in range(embedding.PART + 3)]
    async with loopback.serving(lengths) as peer, exchange(peer.url, key="sk-1") as talk:
        vectors, finished = await events(talk, embed(*texts, dimensions=2))
        assert talk.health.reason is None
    assert isinstance(vectors, Vectors)
    assert isinstance(finished, Finished)
    assert vectors.width == 2
    found = struct.unpack(f"<{2 * len(texts)}f", vectors.values)
    assert list(found[::2]) == [len(text) for text in texts]
    assert (finished.prompt_tokens, finished.completion_tokens) == (sum(map(len, texts)), 0)
    assert [len(asked.json["input"]) for asked in peer.asked] == [embedding.PART, 3]
    first = peer.asked[0]
    assert first.path == "/v1/embeddings"
    assert first.headers["authorization"] == "Bearer sk-1"
    assert first.headers["x-request-id"] == "req_1"
    assert {**first.json, "input": []} == {
        "model": "m", "input": [], "encoding_format": "base64", "dimensions": 2,
    }  # fmt: skip


async def test_a_server_that_knows_no_base64_is_read_too() -> None:
    """Its vectors are lists of numbers, and it may count no tokens."""

    async def numbers(_: Asked, reply: Reply) -> None:
        await reply.document({"data": [{"index": 0, "embedding": [0.5, -0.25]}]})

    async with loopback.serving(numbers) as peer, exchange(peer.url) as talk:
        vectors, finished = await events(talk, embed("a"))
    assert isinstance(vectors, Vectors)
    assert struct.unpack("<2f", vectors.values) == (0.5, -0.25)
    assert isinstance(finished, Finished)
    assert finished.prompt_tokens == 0


@pytest.mark.parametrize("bare", [False, True])
async def test_scores_are_those_of_the_documents(bare: bool) -> None:
    """In Jina's form, and as SGLang's list."""

    async def ranked(asked: Asked, reply: Reply) -> None:
        name = "score" if bare else "relevance_score"
        results = [
            {"index": at, name: float(len(text))}
            for at, text in enumerate(asked.json["documents"])
        ]  # fmt: skip
        results.sort(key=lambda each: -each[name])
        await reply.document(results if bare else {"results": results})

    job = jobs.job(input=Rerank("q", ("a", "ccc", "bb")))
    async with loopback.serving(ranked) as peer, exchange(peer.url) as talk:
        vectors, _ = await events(talk, job)
    assert isinstance(vectors, Vectors)
    assert (vectors.width, struct.unpack("<3f", vectors.values)) == (1, (1.0, 3.0, 2.0))
    assert peer.asked[0].path == "/v1/rerank"
    assert peer.asked[0].json == {"model": "m", "query": "q", "documents": ["a", "ccc", "bb"]}


@pytest.mark.parametrize("status", [400, 404, 501])
async def test_a_refusal_does_not_blame_the_release(status: int) -> None:
    """A client that asks a chat model for embeddings could fail its release at will."""

    async def refusing(_: Asked, reply: Reply) -> None:
        error = {"error": {"message": "This server does not support embeddings"}}
        await reply.document(error, status)

    refused = await failure(refusing, embed("a"))
    assert isinstance(refused, failures.Invalid)
    assert (refused.code, refused.param, refused.release_fault) == (
        "unsupported_task", "model", False,
    )  # fmt: skip
    assert "does not support embeddings" in refused.message


@pytest.mark.parametrize(
    "document",
    [
        {"data": []},
        {"data": [{"index": 1, "embedding": packed(1.0)}]},
        {"data": [{"index": 0, "embedding": "not base64!"}]},
        {"data": [{"index": 0, "embedding": base64.b64encode(b"abc").decode()}]},
        {"data": [{"index": 0, "embedding": ""}]},
        {"data": [{"index": 0, "embedding": ["a"]}]},
        {"data": [{"index": 0, "embedding": [1e39]}]},
        {"data": [{"index": 0, "embedding": packed(1.0, math.nan)}]},
        {"data": [{"index": 0, "embedding": packed(math.inf, -math.inf)}]},
        {"choices": []},
        [1],
    ],
)
async def test_what_is_no_vector_for_each_input_is_malformed(document: object) -> None:
    """It counts against the server, and no half answer is passed on."""

    async def answer(_: Asked, reply: Reply) -> None:
        await reply.document(document)

    broken = await failure(answer, embed("a"))
    assert (type(broken), broken.code) == (failures.Broken, "upstream_malformed")


async def test_a_score_that_is_no_float32_is_malformed() -> None:
    """As a vector is."""

    async def answer(_: Asked, reply: Reply) -> None:
        await reply.document({"results": [{"index": 0, "relevance_score": 1e39}]})

    broken = await failure(answer, jobs.job(input=Rerank("q", ("a",))))
    assert (type(broken), broken.code) == (failures.Broken, "upstream_malformed")


async def test_vectors_of_two_lengths_are_malformed() -> None:
    """Also where each answer of the server has one alone."""

    async def answer(asked: Asked, reply: Reply) -> None:
        texts = asked.json["input"]
        data = [{"index": at, "embedding": [1.0] * len(texts)} for at in range(len(texts))]
        await reply.document({"data": data})

    broken = await failure(answer, embed(*["a"] * (embedding.PART + 3)))
    assert (type(broken), broken.code) == (failures.Broken, "upstream_malformed")
    assert f"have 3 values in one answer and {embedding.PART} in another" in broken.message


def test_what_a_server_would_not_read_is_not_sent() -> None:
    """Other norms and texts among ids are llama-server's and Paddock's; all take ids alone."""

    def inputs(input: Embed, made_by: str) -> object:
        (call,) = embedding.calls(input, model="m", made_by=made_by)
        return call.body

    assert b"[[1,2]]" in bytes(str(inputs(Embed(((1, 2),)), maker.VLLM)), "ascii")
    for input, field in (
        (Embed((("a",),), norm=-1), "embd_normalize"),
        (Embed((("a",), (1, "b"))), "input[1]"),
    ):
        assert embedding.needs_maker(input)
        assert inputs(input, maker.LLAMA)
        with pytest.raises(failures.Invalid) as caught:
            inputs(input, maker.VLLM)
        assert caught.value.param == field
