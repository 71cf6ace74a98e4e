"""Embeddings and rerankings as the clients of OpenAI, llama-server, Jina and Cohere ask."""

from __future__ import annotations

import asyncio
import base64
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI

from storage import releases, services
from storage.releases import Engine, Limits, Sampling
from tests import home_fixtures
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.engine.serving import tiny_gguf

WIDTH = 32
TEXTS = ["a b c", "the quick fox", "z"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway with a worker of each kind; that of the text model is not started."""
    folder = tmp_path_factory.mktemp("gateway")
    made = asyncio.run(gateway_processes.furnish(folder / "home"))
    files = {"embedding": folder / "mean.gguf", "reranking": folder / "rank.gguf"}
    tiny_gguf.bert(files["embedding"])
    tiny_gguf.bert(files["reranking"], pooling=gguf.PoolingType.RANK)
    asyncio.run(add_releases(made, files))
    with gateway_processes.running(made):
        for task, file in files.items():
            made.start_worker(made.releases[task], model=file)
        made.start_gateway()
        for task in files:
            with made.http(None) as http:
                while http.get("/readyz", params={"service": task}).status_code != 200:
                    assert made.processes["gateway"].poll() is None
        yield made


async def add_releases(stack: Stack, files: dict[str, Path]) -> None:
    """A release and a service for each file, named for its task."""
    store = await gateway_processes.opened(stack)

    async def work(s: Any) -> None:
        for number, (task, file) in enumerate(files.items()):
            release = stack.releases[task] = await releases.create(
                s,
                model_version=await home_fixtures.add_model(s, file, f"2.{number}.0"),
                prompt_version=None,
                sampling=Sampling(),
                limits=Limits(),
                engine=Engine(context_tokens=64, max_sequences=8, threads=1, task=task),  # type: ignore[arg-type]
                comment="",
                actor="t",
                at_us=5,
            )
            await services.create(
                s, name=task, release=release.number, record_text=True, actor="t", at_us=6
            )

    await store.write(work)
    await store.close()


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    """The unmodified client."""
    with OpenAI(
        base_url=f"{stack.url}/v1", api_key=stack.secrets["client"], max_retries=0, timeout=120
    ) as one:
        yield one


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    """A plain client."""
    with stack.http() as one:
        yield one


def post(http: httpx.Client, path: str, body: object, status: int = 200) -> Any:
    """What the gateway answers."""
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def embed(http: httpx.Client, input: object, **fields: object) -> list[list[float]]:
    """The vectors of inputs as numbers."""
    answer = post(http, "/v1/embeddings", {"model": "embedding", "input": input, **fields})
    assert [each["index"] for each in answer["data"]] == list(range(len(answer["data"])))
    return [each["embedding"] for each in answer["data"]]


def refused(http: httpx.Client, input: object, **fields: object) -> tuple[str, str]:
    """The code and the field of the refusal of inputs."""
    body = {"model": "embedding", "input": input, **fields}
    error = post(http, "/v1/embeddings", body, 400)["error"]
    return error["code"], error["param"]


def rows(stack: Stack, query: str, *values: object) -> list[Any]:
    """Rows of the store, once there are any."""
    with closing(sqlite3.connect(stack.home.database)) as connection:
        while not (found := connection.execute(query, values).fetchall()):
            assert stack.processes["gateway"].poll() is None
        return found


def test_the_openai_client_gets_vectors_of_length_one(http: httpx.Client, client: OpenAI) -> None:
    """As base64, which it asks for by itself, and as numbers: the same."""
    packed = client.embeddings.create(model="embedding", input=TEXTS)
    assert [len(each.embedding) for each in packed.data] == [WIDTH] * len(TEXTS)
    assert [math.hypot(*each.embedding) for each in packed.data] == pytest.approx([1.0] * 3)
    plain = client.embeddings.create(model="embedding", input=TEXTS, encoding_format="float")
    assert [each.embedding for each in plain.data] == [each.embedding for each in packed.data]
    assert packed.usage.prompt_tokens == packed.usage.total_tokens == 5 + 13 + 3
    assert packed.model == "embedding"
    assert np.allclose(embed(http, TEXTS[1])[0], plain.data[1].embedding, atol=1e-5)


def test_many_inputs_keep_their_order(http: httpx.Client) -> None:
    """They are sent to the worker in parts and computed in steps of several."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [f"{one} {other}" for one in letters[:10] for other in letters[:10]]
    vectors = embed(http, texts)
    assert len(vectors) == len(texts)
    for at in (0, 31, 32, 99):
        assert np.allclose(vectors[at], embed(http, texts[at])[0], atol=1e-5)


def test_dimensions_cut_and_scale(client: OpenAI) -> None:
    """Down to one, up to all; more is refused with the field's name."""
    whole = client.embeddings.create(model="embedding", input="a b").data[0].embedding
    cut = client.embeddings.create(model="embedding", input="a b", dimensions=4).data[0].embedding
    assert cut == pytest.approx([x / math.hypot(*whole[:4]) for x in whole[:4]], abs=1e-5)
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="embedding", input="a b", dimensions=WIDTH + 1)
    assert caught.value.param == "dimensions"


def test_inputs_take_every_form_that_llama_server_takes(http: httpx.Client) -> None:
    """Ids, ids among texts, objects, and lists of all of them; the same text is the same vector."""
    ids = post(http, "/tokenize", {"model": "embedding", "content": "a b"})["tokens"]
    inputs = {"model": "embedding", "input": [2, *ids, 3]}
    (vector,) = (each["embedding"] for each in post(http, "/v1/embeddings", inputs)["data"])
    text = embed(http, "a b")[0]
    assert np.allclose(vector, text, atol=1e-5)
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    given = ["a b", [2, *ids, 3], {"prompt_string": "a b"}, {"content": parts}]
    assert np.allclose(embed(http, given), [text] * 4, atol=1e-5)
    for single in ("", [12, "a", 30], {"content": parts}):
        assert len(embed(http, single)) == 1
    assert len(embed(http, [[12, 30], [12, "b", 30]])) == 2


@pytest.mark.parametrize(
    ("input", "expected"),
    [
        ([], ("invalid_value", "input")),
        (7, ("invalid_value", "input")),
        (["a", "b " * 200], ("context_length_exceeded", "input[1]")),
        (["a"] * 40 + ["b " * 80], ("context_length_exceeded", "input[40]")),
        ([[2, 999_999]], ("invalid_value", "input[0]")),
        (["a"] * 2049, ("invalid_value", "input")),
        ({"content": "a"}, ("invalid_value", "input.content")),
        ({"content": [{"type": "image_url"}]}, ("unsupported_parameter", "input.content[0]")),
        ([1, [2]], ("invalid_value", "input[1]")),
    ],
)
def test_what_cannot_be_embedded_is_refused_with_its_place(
    http: httpx.Client, input: object, expected: tuple[str, str]
) -> None:
    """And the next request is answered."""
    assert refused(http, input) == expected
    assert len(embed(http, "a")) == 1


def test_each_model_says_what_it_is_for(http: httpx.Client) -> None:
    """Embeddings of a text model, text of an embedding model, and what to send where."""
    ask = {"messages": [{"role": "user", "content": "Hello"}]}
    for path, body, where in (
        ("/v1/embeddings", {"model": "raw", "input": "a"}, "/v1/chat/completions"),
        ("/v1/chat/completions", {"model": "embedding", **ask}, "/v1/embeddings"),
        ("/v1/completions", {"model": "reranking", "prompt": "a"}, "/v1/rerank"),
        ("/v1/rerank", {"model": "embedding", "query": "a", "documents": ["b"]}, "/v1/embeddings"),
        ("/v1/embeddings", {"model": "reranking", "input": "a"}, "/v1/rerank"),
    ):
        error = post(http, path, body, 400)["error"]
        assert (error["code"], error["param"]) == ("unsupported_task", "model")
        assert where.removeprefix("/") in error["message"]


def test_documents_come_back_by_relevance(http: httpx.Client) -> None:
    """The best first, with their indices; some of them, with their texts where asked for."""
    documents = ["a b", "the fox", "q r s t", "fox"]
    body = {"model": "reranking", "query": "fox", "documents": documents}
    whole = post(http, "/v1/rerank", body)
    scores = [each["relevance_score"] for each in whole["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(each["index"] for each in whole["results"]) == [0, 1, 2, 3]
    assert whole["usage"]["prompt_tokens"] == whole["usage"]["total_tokens"] > 0
    objects = [{"text": each} for each in documents]
    top = post(
        http, "/rerank", {**body, "documents": objects, "top_n": 2, "return_documents": True}
    )
    assert [each["index"] for each in top["results"]] == [e["index"] for e in whole["results"][:2]]
    for each in top["results"]:
        assert each["document"]["text"] == documents[each["index"]]
    assert len(post(http, "/v1/reranking", {**body, "top_n": 99})["results"]) == len(documents)
    alone = post(http, "/v2/rerank", {**body, "documents": ["the fox"]})["results"][0]
    among = next(each for each in whole["results"] if each["index"] == 1)
    assert alone["relevance_score"] == pytest.approx(among["relevance_score"], abs=1e-4)


def test_rerank_answers_in_the_form_of_text_embeddings_inference(http: httpx.Client) -> None:
    """A bare list, where the documents are called texts."""
    body = {"model": "reranking", "query": "fox", "texts": ["a", "fox"], "return_text": True}
    ranked = post(http, "/rerank", body)
    assert [set(each) for each in ranked] == [{"index", "score", "text"}] * 2


@pytest.mark.parametrize("documents", [[], None, 123, [1, 2, 3]])
def test_documents_that_are_no_texts_are_refused(http: httpx.Client, documents: object) -> None:
    """As llama-server's own tests have it."""
    body = {"model": "reranking", "query": "a", "documents": documents}
    assert post(http, "/rerank", body, 400)["error"]["param"].startswith("documents")


def test_a_request_is_recorded_with_its_tokens(stack: Stack, http: httpx.Client) -> None:
    """As any other: prompt tokens, computing time and none of a completion."""
    answer = http.post("/v1/embeddings", json={"model": "embedding", "input": ["m n", "o"]})
    (row,) = rows(
        stack,
        "SELECT prompt_tokens, completion_tokens, busy_us > 0, outcome, endpoint FROM requests"
        " WHERE id = ?",
        answer.headers["x-request-id"],
    )
    assert row == (4 + 3, 0, 1, "ok", "/v1/embeddings")


def test_base64_is_the_bytes_of_the_numbers(http: httpx.Client) -> None:
    """Little-endian float32."""
    body = {"model": "embedding", "input": "a b", "encoding_format": "base64"}
    raw = base64.b64decode(post(http, "/v1/embeddings", body)["data"][0]["embedding"])
    assert np.frombuffer(raw, "<f4").tolist() == embed(http, "a b")[0]
