"""The unmodified `openai` client against a real gateway, a real worker, a real store."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final

import httpx
import openai
import pytest
from openai import APIStatusError, OpenAI
from openai.types.chat import ChatCompletion
from prometheus_client.parser import text_string_to_metric_families

from storage import budgets
from storage.budgets import Budget, Period, Scope
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

ASK = [
    {"role": "user", "content": "Notes: order 17 is late. What is the status of order 17?"},
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for this module."""
    with gateway_processes.serving(tmp_path_factory.mktemp("gateway") / "home") as made:
        yield made


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    """A client's client."""
    with connect(stack, "client") as one:
        yield one


def connect(stack: Stack, key: str, **headers: str) -> OpenAI:
    """The openai client with one of the stack's keys; it does not try again by itself."""
    return OpenAI(
        base_url=f"{stack.url}/v1", api_key=stack.secrets[key], max_retries=0, timeout=120,
        default_headers=headers,
    )  # fmt: skip


def chat(one: OpenAI, **fields: Any) -> ChatCompletion:
    """A chat answer."""
    answer = one.chat.completions.create(**{"model": "ops", "messages": ASK, **fields})
    assert isinstance(answer, ChatCompletion)
    return answer


def text_of(answer: ChatCompletion) -> str:
    """The first choice's text."""
    return answer.choices[0].message.content or ""


def streamed(one: OpenAI, **fields: Any) -> list[Any]:
    """The chunks of a streamed chat answer."""
    return list(
        one.chat.completions.create(**{"model": "ops", "messages": ASK, "stream": True, **fields})
    )


def rows(stack: Stack, query: str, *values: object) -> list[Any]:
    """Rows of the store."""
    with closing(sqlite3.connect(stack.home.database)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(query, values).fetchall()


def recorded(stack: Stack, answer: Any) -> Any:
    """The row of a request, once it is written: feedback on it waits for that."""
    id = f"req_{answer.id.partition('-')[2]}"
    with stack.http("operator") as http:
        http.post("/v1/feedback", json={"request_id": id, "score": 1}).raise_for_status()
    (row,) = rows(stack, "SELECT * FROM requests WHERE id = ?", id)
    return row


def test_it_chats(client: OpenAI) -> None:
    """An answer with its usage, its reason to end and its service as the model."""
    answer = chat(client)
    assert answer.object == "chat.completion"
    assert answer.model == "ops"
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_as_the_whole(client: OpenAI) -> None:
    """Role first, then text, the reason, and the usage when it is asked for."""
    whole = chat(client, seed=1, user="sara")
    first, *middle, usage = streamed(
        client, seed=1, user="sara", stream_options={"include_usage": True}
    )
    assert first.choices[0].delta.role == "assistant"
    said = "".join(chunk.choices[0].delta.content or "" for chunk in middle)
    assert said == text_of(whole)
    assert middle[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert usage.choices == []
    assert whole.usage is not None
    assert usage.usage.total_tokens == whole.usage.total_tokens  # more of them cached by now
    assert all(chunk.usage is None for chunk in [first, *middle])


def test_without_being_asked_a_stream_has_no_usage(client: OpenAI) -> None:
    """As OpenAI does it."""
    assert all(chunk.usage is None and chunk.choices for chunk in streamed(client))


def test_n_gives_n_choices_with_seeds_of_their_own(client: OpenAI) -> None:
    """Whole and streamed alike: choice i is what seed + i alone would say."""
    asked = {"temperature": 2, "max_tokens": 12, "user": "sara", "top_p": 1}
    three = chat(client, n=3, seed=7, **asked)
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in three.choices]
    assert texts == [text_of(chat(client, seed=7 + i, **asked)) for i in range(3)]
    grown = ["", "", ""]
    for chunk in streamed(client, n=3, seed=7, **asked):
        for choice in chunk.choices:
            grown[choice.index] += choice.delta.content or ""
    assert grown == texts
    assert three.usage is not None
    assert three.usage.prompt_tokens < 3 * 40


def test_a_seed_repeats_an_answer_and_another_one_does_not(client: OpenAI) -> None:
    """Sampled, alone; the model is sure of what it says, so several others are tried."""
    hot: dict[str, Any] = {"temperature": 2, "max_tokens": 24, "user": "sara", "top_p": 1}
    said = [text_of(chat(client, seed=seed, **hot)) for seed in range(3, 9)]
    assert said == [text_of(chat(client, seed=seed, **hot)) for seed in range(3, 9)]
    assert len(set(said)) > 1


def test_a_stop_string_ends_an_answer_and_is_not_in_it(client: OpenAI) -> None:
    """One or a list of them."""
    whole = text_of(chat(client, user="sara", max_tokens=24))
    stop = whole[len(whole) // 2 :][:3]
    cut = chat(client, user="sara", max_tokens=24, stop=stop)
    assert text_of(cut) == whole[: whole.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    assert text_of(chat(client, user="sara", max_tokens=24, stop=["\x00", stop])) == text_of(cut)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_on_tokens_holds(client: OpenAI, name: str) -> None:
    """By either name."""
    answer = chat(client, **{name: 3})
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 3


def test_logprobs_of_a_chat(client: OpenAI) -> None:
    """One entry per token, with alternatives, best first; the same in a stream."""
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 3, "max_tokens": 5, "user": "sara"}
    found = chat(client, **asked).choices[0].logprobs
    assert found is not None
    assert found.content
    for entry in found.content:
        assert len(entry.top_logprobs) == 3
        ordered = [other.logprob for other in entry.top_logprobs]
        assert ordered == sorted(ordered, reverse=True)
        assert bytes(entry.bytes or []).decode("utf-8", "replace") == entry.token
    grown = [
        entry
        for chunk in streamed(client, **asked)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert [entry.token for entry in grown] == [entry.token for entry in found.content]


def test_text_is_continued(client: OpenAI) -> None:
    """Several prompts, n, logprobs as a number, streamed and not."""
    answer = client.completions.create(
        model="raw", prompt=["order 17", "server 4"], n=2, max_tokens=4, logprobs=2, seed=1
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.tokens or []) == len(logprobs.top_logprobs or []) > 0
    assert logprobs.text_offset == [
        sum(map(len, (logprobs.tokens or [])[:i])) for i in range(len(logprobs.tokens or []))
    ]
    one = client.completions.create(model="raw", prompt="order 17", max_tokens=4, seed=1)
    grown = client.completions.create(
        model="raw", prompt="order 17", max_tokens=4, seed=1, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in grown) == one.choices[0].text
    assert one.choices[0].text == answer.choices[0].text


def test_the_recorded_tokens_are_those_of_the_usage(stack: Stack, client: OpenAI) -> None:
    """Those of all prompts together; choices of one prompt read it once."""
    answer = client.completions.create(
        model="raw", prompt=["order 17", "the status of server 4"], n=2, max_tokens=4
    )
    assert answer.usage is not None
    assert recorded(stack, answer)["prompt_tokens"] == answer.usage.prompt_tokens


def test_a_large_prompt_asked_for_often_delays_no_other_client(client: OpenAI) -> None:
    """Only that prompt is refused; a stream under way reaches its end."""
    stream = client.completions.create(
        model="raw", prompt="order 17", max_tokens=300, seed=1, stream=True
    )
    next(iter(stream))
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="raw", prompt="order 17 " * 70_000, n=128)
    assert caught.value.code == "context_length_exceeded"
    *_, last = stream
    assert last.choices[0].finish_reason in {"length", "stop"}


def test_the_services_are_the_models(client: OpenAI) -> None:
    """Listed and looked up."""
    assert [model.id for model in client.models.list()] == ["faulty", "ops", "raw"]
    assert client.models.retrieve("ops").owned_by == "paddock"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve("gpt-5")


def test_a_wrong_key_is_a_clear_error(stack: Stack) -> None:
    """Neither says what keys there are."""
    with connect(stack, "wrong") as stranger, pytest.raises(openai.AuthenticationError) as caught:
        chat(stranger)
    assert caught.value.code == "invalid_api_key"
    with stack.http(None) as http:
        answer = http.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_api_key")


def test_a_zero_byte_is_a_character_like_any_other(stack: Stack) -> None:
    """In a prompt, a message, a stop text, a user: it ends neither a text nor a worker."""
    text = {"model": "raw", "prompt": "order\0 17", "max_tokens": 2}
    asked = [
        text,
        text | {"prompt": "\0"},
        text | {"prompt": "order 17", "stop": "\0", "user": "\0"},
    ]
    with stack.http() as http:
        answers = [http.post("/v1/completions", json=each) for each in asked]
        assert [each.status_code for each in answers] == [200, 200, 200]
        used = [each.json()["usage"]["prompt_tokens"] for each in answers]
        assert used[0] > used[1] == 1
        for content in ("\0", "order\0 17"):
            said = {"model": "ops", "messages": [{"role": "user", "content": content}]}
            assert http.post("/v1/chat/completions", json=said | {"max_tokens": 2}).is_success
        unknown = http.post("/v1/completions", json=text | {"model": "raw\0"})
        assert unknown.status_code == 404


def test_requests_without_a_valid_key_are_counted_by_their_error(stack: Stack) -> None:
    """In /metrics and in the gateway's samples; they are recorded as no request."""
    before = rejected(stack)
    with stack.http(None) as http:
        http.post("/v1/chat/completions", json={"model": "ops", "messages": []})
    with connect(stack, "wrong") as stranger, pytest.raises(openai.AuthenticationError):
        chat(stranger)
    with stack.http("client") as http:
        http.post("/v1/completions", json={"model": "none", "prompt": "x"})
    after = rejected(stack)
    grown = {code: count - before.get(code, 0) for code, count in after.items()}
    assert {code: count for code, count in grown.items() if count} == {
        "missing_api_key": 1, "invalid_api_key": 1, "model_not_found": 1,
    }  # fmt: skip


def rejected(stack: Stack) -> dict[str, float]:
    """The counters of requests that were answered with an error and not recorded."""
    with stack.http("viewer") as http:
        families = text_string_to_metric_families(http.get("/metrics").text)
        return {
            sample.labels["code"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "paddock_requests_rejected_total"
        }


def test_an_unknown_model_is_a_clear_error(client: OpenAI) -> None:
    """With the names that there are."""
    with pytest.raises(openai.NotFoundError, match="faulty, ops, raw") as caught:
        chat(client, model="gpt-5")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"messages": []}, "messages"),
        ({"n": 0}, "n"),
        ({"extra_body": {"temprature": 1}}, "temprature"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
         "messages[0].tool_call_id"),
        ({"extra_body": {"prompt_variables": {"nobody": 1}}}, "prompt_variables"),
        ({"extra_headers": {"x-paddock-class": "royal"}}, "x-paddock-class"),
    ],
)  # fmt: skip
def test_bad_parameters_are_named(client: OpenAI, fields: dict[str, Any], param: str) -> None:
    """As the client's own BadRequestError."""
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, user="sara", **fields)
    assert caught.value.param == param


@pytest.mark.parametrize("length", [600, 100_000])
def test_a_prompt_over_the_context_says_both_numbers(client: OpenAI, length: int) -> None:
    """How long it is and how long it may be."""
    with pytest.raises(openai.BadRequestError, match="512") as caught:
        chat(client, messages=[{"role": "user", "content": "order 17 " * length}])
    assert caught.value.code == "context_length_exceeded"


def test_a_role_that_does_not_suffice_is_a_clear_error(stack: Stack, client: OpenAI) -> None:
    """Naming the release is for operators; theirs is answered by it."""
    pin = {"x-paddock-release": stack.releases["plain"].name}
    with pytest.raises(openai.PermissionDeniedError, match="operator"):
        chat(client, extra_headers=pin)
    with connect(stack, "operator") as operator:
        raw = operator.chat.completions.with_raw_response.create(
            model="ops", messages=[{"role": "user", "content": "hi"}], extra_headers=pin
        )
        assert raw.headers["x-paddock-release"] == pin["x-paddock-release"]
        with pytest.raises(openai.NotFoundError):
            chat(operator, extra_headers={"x-paddock-release": "r999"})


ANSWERING = {
    "/v1/chat/completions", "/v1/completions", "/v1/feedback", "/v1/messages",
    "/v1/messages/count_tokens", "/v1/responses", "/v1/responses/input_tokens",
    "/v1/chat/completions/input_tokens", "/v1/embeddings", "/tokenize", "/detokenize",
    "/apply-template", "/v1/rerank", "/v2/rerank", "/rerank", "/v1/reranking", "/reranking",
    "/services/{service}/v1/chat/completions", "/services/{service}/v1/completions",
    "/services/{service}/tokenize", "/services/{service}/detokenize",
}  # fmt: skip
"""Routes that are not read and change nothing on the box: answers, and what clients say of them."""


def test_no_route_acts_on_the_box_for_a_key_of_a_viewer(stack: Stack) -> None:
    """Whatever is not read is an answer or its rating: those of others, and releases, are refused.

    A route that is added here has to be judged: who may use it?
    """
    pin = {"x-paddock-release": stack.releases["plain"].name}
    with stack.http("viewer") as http:
        paths: dict[str, list[str]] = http.get("/openapi.json").json()["paths"]
        assert {path for path, methods in paths.items() if list(methods) != ["get"]} <= ANSWERING
        message = {"role": "user", "content": "hi"}
        for path, asked in (("chat/", {"messages": [message]}), ("", {"prompt": "hi"})):
            body = {"model": "ops", **asked}
            refused = http.post(f"/v1/{path}completions", json=body, headers=pin)
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                403, "insufficient_role",
            )  # fmt: skip
            assert "requires a key of role operator; viewer is viewer" in refused.text


def test_overload_is_answered_with_the_time_to_wait(stack: Stack, client: OpenAI) -> None:
    """The client's RateLimitError with Retry-After; the rest is answered."""

    def ask(number: int) -> Any:
        try:
            return client.completions.create(
                model="raw", prompt=f"order {number}", n=8, max_tokens=40
            )
        except openai.APIStatusError as error:
            return error

    with ThreadPoolExecutor(48) as pool:
        answers = list(pool.map(ask, range(48)))
    refused = [a for a in answers if isinstance(a, openai.APIStatusError)]
    assert len(refused) < len(answers)
    assert {type(error) for error in refused} == {openai.RateLimitError}
    assert all(int(error.response.headers["retry-after"]) >= 1 for error in refused)
    assert all(error.code == "queue_full" for error in refused)
    (counted,) = rows(stack, "SELECT count(*) FROM requests WHERE outcome = 'failed'")
    assert counted[0] == 0


def test_sixteen_streams_at_once_do_not_mix(client: OpenAI) -> None:
    """Each says in company what it says alone; how often is what the worker's tests count."""
    asked = [f"What is the status of order {number}?" for number in range(16)]

    def ask(question: str) -> str:
        chunks = streamed(
            client, messages=[{"role": "user", "content": question}], user="sara", max_tokens=8
        )
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    alone = [ask(question) for question in asked]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, asked))
    same = sum(a == b for a, b in zip(alone, together, strict=True))
    assert same >= 12  # rounding differs with the batch; a mix-up would leave next to none


def test_users_stick_to_their_arm_and_the_arms_share(stack: Stack, client: OpenAI) -> None:
    """By `user`, or by the session header where there is none."""

    def arm(user: str | None, **headers: str) -> str:
        raw = client.completions.with_raw_response.create(
            model="ops", prompt="x", max_tokens=1, extra_headers=headers,
            extra_body={"user": user} if user else {},
        )  # fmt: skip
        return raw.headers["x-paddock-release"]

    arms = {name: arm(name) for name in ("sara", "tom", "ines", "raj", "li", "noa", "kim", "ada")}
    assert set(arms.values()) == {stack.releases[n].name for n in ("prompted", "adapted")}
    assert {name: arm(None, **{"x-paddock-session": name}) for name in arms} == arms


def test_what_was_answered_is_written_down(stack: Stack, client: OpenAI) -> None:
    """Who, what, by whom, how long; the text only where the service says so."""
    answer = chat(client, user="sara", seed=5, extra_headers={"x-paddock-class": "batch"})
    row = recorded(stack, answer)
    assert answer.usage is not None
    assert (row["service"], row["outcome"], row["class"]) == ("ops", "ok", "batch")
    assert row["endpoint"] == "/v1/chat/completions"
    assert (row["prompt_tokens"], row["completion_tokens"]) == (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
    )
    assert (row["seed"], row["stream"], row["synthetic"], row["tenant"]) == (5, 0, 0, "here")
    assert 0 < row["ttft_us"] <= row["latency_us"]
    assert row["busy_us"] > 0
    (text,) = rows(stack, "SELECT * FROM request_texts WHERE request_id = ?", row["id"])
    assert text["completion"] == text_of(answer)
    assert "What is the status of order 17?" in text["prompt"]
    assert "You are a helpful assistant." in text["prompt"]
    private = client.completions.create(model="raw", prompt="x", max_tokens=1)
    id = recorded(stack, private)["id"]
    assert rows(stack, "SELECT * FROM request_texts WHERE request_id = ?", id) == []


def test_a_stream_is_written_down_with_its_text(stack: Stack, client: OpenAI) -> None:
    """Although it was streamed and never held as a whole."""
    chunks = streamed(client, user="sara")
    row = recorded(stack, chunks[0])
    (text,) = rows(stack, "SELECT * FROM request_texts WHERE request_id = ?", row["id"])
    assert text["completion"] == "".join(c.choices[0].delta.content or "" for c in chunks)
    assert row["stream"] == 1


def test_synthetic_load_is_written_down_as_such(stack: Stack) -> None:
    """And labelled in the metrics."""
    with connect(stack, "synthetic") as load:
        row = recorded(stack, chat(load))
    assert row["synthetic"] == 1
    with stack.http("viewer") as http:
        assert 'synthetic="true"' in http.get("/metrics").text


def test_a_client_who_leaves_is_not_computed_for(stack: Stack) -> None:
    """The sequence is freed and the request is written down as cancelled, with what it cost."""
    body = {"model": "raw", "prompt": "order", "max_tokens": 400, "stream": True, "seed": 77}
    with stack.http() as http, http.stream("POST", "/v1/completions", json=body) as answer:
        id = answer.headers["x-request-id"]
        next(answer.iter_lines())
    row = until_recorded(stack, id)
    assert row["outcome"] == "cancelled"
    assert row["completion_tokens"] < 400
    assert row["busy_us"] > 0


def until_recorded(stack: Stack, id: str) -> Any:
    """Wait for a row; feedback answers 404, each time after a while, until it is there."""
    with stack.http("operator") as http:
        until = time.monotonic() + 20
        while True:
            answer = http.post("/v1/feedback", json={"request_id": id, "score": -1})
            if answer.status_code == 200:
                break
            assert answer.status_code == 404
            assert time.monotonic() < until, f"{id} was not recorded"
    (row,) = rows(stack, "SELECT * FROM requests WHERE id = ?", id)
    return row


def test_feedback_is_kept_and_only_of_ones_own_answers(stack: Stack, client: OpenAI) -> None:
    """By the request's id or the answer's; of another tenant's there is no such request."""
    answer = chat(client)
    with stack.http() as http:
        body = {"id": answer.id, "score": -1, "correct": False, "comment": "wrong \x1b[31morder"}
        said = http.post("/v1/feedback", json=body)
        assert said.status_code == 200
        id = said.json()["request_id"]
        missing = http.post("/v1/feedback", json={"score": 1})
        assert missing.json()["error"]["param"] == "request_id"
    with stack.http("other") as http:
        assert http.post("/v1/feedback", json={"id": answer.id, "score": 1}).status_code == 404
    (row,) = rows(
        stack,
        "SELECT f.* FROM feedback f JOIN requests r ON r.key = f.request_id WHERE r.id = ?",
        id,
    )
    assert (row["score"], row["correct"], row["comment"]) == (-1, 0, "wrong \x1b[31morder")


def test_a_thumb_that_was_changed_is_counted_once(stack: Stack, client: OpenAI) -> None:
    """By what was said last."""
    arm = {"service": "raw", "release": stack.releases["plain"].name}

    def thumbs() -> tuple[float, float]:
        with stack.http("viewer") as http:
            families = text_string_to_metric_families(http.get("/metrics").text)
        found = {
            sample.labels["thumb"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "paddock_feedback" and arm.items() <= sample.labels.items()
        }
        return found.get("up", 0), found.get("down", 0)

    up, down = thumbs()
    answer = chat(client, model="raw")
    with stack.http() as http:
        for score in (1, -1, -1):
            http.post("/v1/feedback", json={"id": answer.id, "score": score}).raise_for_status()
    assert thumbs() == (up, down + 1)


def test_samples_are_taken_of_arms_and_workers(stack: Stack, client: OpenAI) -> None:
    """Sketches of durations for an arm, steps and times for a worker."""
    chat(client, user="sara")
    subject = f"{stack.releases['plain'].deployment}:1"
    arms: list[Any] = []
    while not arms:  # at most a second late
        found = rows(stack, "SELECT body FROM samples WHERE kind='arm' AND body LIKE '%buckets%'")
        arms = [arm for row in found if (arm := json.loads(row["body"])).get("latency")]
    assert arms[-1]["requests"] > 0
    workers = rows(
        stack,
        "SELECT body FROM samples WHERE kind='instance' AND subject=? ORDER BY second",
        subject,
    )
    samples = [json.loads(row["body"]) for row in workers]
    assert max(sample["batch_max"] for sample in samples) == 16
    assert sum(sample["busy_us"] for sample in samples) > 0


def test_a_broken_prompt_names_prompt_version_and_line(client: OpenAI) -> None:
    """It is the operators' fault, so it is a 500."""
    with pytest.raises(openai.InternalServerError) as caught:
        chat(client, model="faulty")
    assert "prompt broken@1, message 1 (system), line 2: 'nobody' is undefined" in str(caught.value)


def test_prompt_variables_reach_the_prompt(stack: Stack, client: OpenAI) -> None:
    """And a client's own system text is appended."""
    answer = chat(
        client,
        user="sara",
        messages=[{"role": "system", "content": "In French."}, *ASK],
        extra_body={"prompt_variables": {"kind": "parrot"}},
    )
    id = recorded(stack, answer)["id"]
    (text,) = rows(stack, "SELECT prompt FROM request_texts WHERE request_id = ?", id)
    assert text["prompt"].startswith("system: You are a helpful parrot.\n\n  In French.\n\nuser:")


def test_text_that_spells_a_control_token_is_text(client: OpenAI) -> None:
    """It costs more tokens than the one that it spells, and it goes through."""

    def tokens(content: str) -> int:
        answer = chat(client, model="raw", messages=[{"role": "user", "content": content}],
                      max_tokens=1)  # fmt: skip
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    assert tokens("<|im_end|>" * 10) - tokens("") > 20


def test_the_extensions_are_taken(client: OpenAI) -> None:
    """top_k 1 is greedy, whatever the temperature."""
    greedy = text_of(chat(client, user="sara", temperature=0, max_tokens=8))
    hot = chat(
        client, user="sara", temperature=2, max_tokens=8, metadata={"a": "b"},
        extra_body={"top_k": 1, "min_p": 0.5},
    )  # fmt: skip
    assert text_of(hot) == greedy


def test_an_answer_matches_its_schema_and_one_that_cannot_be_held_is_refused(
    client: OpenAI,
) -> None:
    """As OpenAI's structured outputs, streamed or not, and under vLLM's names."""
    schema = {
        "type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
        "additionalProperties": False,
    }  # fmt: skip
    form: Any = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
    whole = chat(client, temperature=1, max_tokens=200, response_format=form)
    assert json.loads(text_of(whole)).keys() == {"ok"}
    assert whole.choices[0].finish_reason == "stop"
    chosen = chat(
        client, temperature=2, extra_body={"structured_outputs": {"choice": ["red", "blue"]}}
    )
    assert text_of(chosen) in {"red", "blue"}
    with pytest.raises(openai.BadRequestError) as refusal:
        chat(client, extra_body={"guided_json": {"not": {}}}, stream=True)
    assert refusal.value.param == "guided_json"
    assert "not" in refusal.value.message


def test_a_bias_decides_and_a_token_that_there_is_not_is_named(client: OpenAI) -> None:
    """As OpenAI has it, by token id."""
    biased = chat(client, temperature=0, max_tokens=6, logit_bias={"300": 100})
    assert len(set(text_of(biased).split())) == 1
    with pytest.raises(openai.BadRequestError) as refusal:
        chat(client, max_tokens=1, logit_bias={"9999999": 1})
    assert refusal.value.param == "logit_bias"
    with pytest.raises(openai.BadRequestError) as refusal:
        chat(client, max_tokens=3, extra_body={"min_tokens": 4})
    assert refusal.value.param == "min_tokens"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"model":"ops","messages":[{"role":"user","content":"\xff"}]}', 400, "invalid_utf8"),
        (b'{"model":"ops","messages":[{"role":"user","content":"\\ud800"}]}', 400, "invalid_json"),
        (b'{"model":' + b"[" * 100_000, 400, "invalid_json"),
        (b" " * 2_000_001, 413, "body_too_large"),
    ],
)
def test_bad_bodies_are_told_apart(stack: Stack, body: bytes, status: int, code: str) -> None:
    """Malformed, not UTF-8, half a surrogate pair, too deep, too large."""
    with stack.http() as http:
        answer = http.post("/v1/chat/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_body_without_a_length_is_bounded_too(stack: Stack) -> None:
    """Chunked bodies announce nothing."""
    with stack.http() as http:
        answer = http.post("/v1/completions", content=(b" " * 65536 for _ in range(40)))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/chat/completions", 405), ("POST", "/v1/models", 405)],
)
def test_wrong_paths_get_error_objects_too(
    stack: Stack, method: str, path: str, status: int
) -> None:
    """With the four fields that clients read."""
    with stack.http() as http:
        answer = http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_wrong_method_is_answered_with_the_right_one(stack: Stack) -> None:
    """In words, and in the header that proxies read."""
    with stack.http() as http:
        answer = http.get("/v1/chat/completions")
    assert answer.headers["allow"] == "POST"
    assert "use POST" in answer.json()["error"]["message"]


def test_what_is_repeated_to_a_client_is_bounded(stack: Stack) -> None:
    """A name of a hundred thousand characters does not come back whole."""
    body = {"model": "ops", "messages": [{"role": "user", "content": "x"}], "x" * 100_000: 1}
    with stack.http() as http:
        answer = http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "unknown_parameter")
    assert error["param"].startswith("xxx")
    assert len(answer.content) < 2000


def test_alive_ready_and_measured(stack: Stack) -> None:
    """Open to probes; the exposition parses and has the documented names."""
    with stack.http(None) as http:
        assert http.get("/healthz").json() == {"status": "alive"}
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (200, [])
    with stack.http("viewer") as http:
        families = {f.name: f for f in text_string_to_metric_families(http.get("/metrics").text)}
    assert {"paddock_requests", "paddock_tokens", "paddock_latency_seconds", "paddock_ready",
            "paddock_worker_up", "paddock_worker_knob"} <= set(families)  # fmt: skip
    assert all(name.startswith("paddock_") for name in families)
    assert families["paddock_ready"].samples[0].value == 1


def test_metrics_take_a_viewers_key(stack: Stack) -> None:
    """From loopback, too: clients behind a proxy on this machine appear to come from there."""
    with stack.http(None) as http:
        assert http.get("/metrics").status_code == 401
    with stack.http("client") as http:
        assert http.get("/metrics").status_code == 403
    with stack.http("viewer") as http:
        assert http.get("/metrics").status_code == 200


def check(document: Any, schema: Any, found: Any, where: str = "$") -> None:
    """Hold a document to its schema: nothing missing, nothing undescribed, the right types."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    types: dict[str, tuple[type, ...]] = {
        "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
        "number": (int, float), "boolean": (bool,), "null": (type(None),),
    }  # fmt: skip
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    assert isinstance(found, tuple(one for name in allowed for one in types[name])), where
    if isinstance(found, dict) and "properties" in schema:
        assert set(schema["required"]) <= set(found) <= set(schema["properties"]), where
        for name, value in found.items():
            check(document, schema["properties"][name], value, f"{where}.{name}")
    if isinstance(found, list):
        for place, value in enumerate(found):
            check(document, schema["items"], value, f"{where}[{place}]")


@pytest.mark.parametrize(
    ("method", "path", "described", "key", "body"),
    [
        ("POST", "/v1/chat/completions", "", "client", {"model": "ops", "messages": ASK}),
        ("POST", "/v1/chat/completions", "", "client", {"model": "ops", "messages": []}),
        ("POST", "/v1/chat/completions", "", "wrong", {"model": "ops", "messages": ASK}),
        ("POST", "/v1/chat/completions", "", "client", {"model": "faulty", "messages": ASK}),
        ("POST", "/v1/completions", "", "client", {"model": "raw", "prompt": "x", "logprobs": 1}),
        ("POST", "/v1/completions", "", "client", {"model": "none", "prompt": "x"}),
        ("POST", "/v1/messages", "", "client", {"model": "ops", "messages": ASK, "max_tokens": 9}),
        ("POST", "/v1/messages", "", "client", {"model": "ops", "messages": ASK}),
        ("POST", "/v1/messages/count_tokens", "", "client", {"model": "ops", "messages": ASK}),
        ("POST", "/v1/messages/count_tokens", "", "wrong", {"model": "ops", "messages": ASK}),
        ("POST", "/v1/responses", "", "client", {"model": "ops", "input": "Where is order 17?"}),
        ("POST", "/v1/responses", "", "client", {"model": "ops"}),
        ("POST", "/v1/responses/input_tokens", "", "client", {"model": "ops", "input": "Where?"}),
        (
            "POST",
            "/v1/chat/completions/input_tokens",
            "",
            "client",
            {"model": "ops", "messages": ASK},
        ),
        ("POST", "/tokenize", "", "client", {"model": "raw", "prompt": "x"}),
        ("POST", "/tokenize", "", "client", {"model": "raw"}),
        ("POST", "/detokenize", "", "client", {"model": "raw", "tokens": [5, 6]}),
        ("POST", "/detokenize", "", "client", {"model": "raw", "tokens": [2_000_000]}),
        ("POST", "/apply-template", "", "client", {"model": "ops", "messages": ASK}),
        ("POST", "/v1/feedback", "", "client", {"id": "req_none", "score": 1}),
        ("GET", "/v1/models", "", "client", None),
        ("GET", "/v1/models/ops", "/v1/models/{name}", "client", None),
        ("GET", "/v1/models/none", "/v1/models/{name}", "client", None),
        ("GET", "/healthz", "", None, None),
        ("GET", "/readyz", "", None, None),
        ("GET", "/readyz?service=raw", "/readyz", None, None),
        ("GET", "/readyz?service=none", "/readyz", None, None),
        ("GET", "/metrics", "", "client", None),
    ],
)
def test_the_openapi_document_describes_what_is_answered(
    stack: Stack, method: str, path: str, described: str, key: str | None, body: Any
) -> None:
    """Every status and every field, errors too, and which paths take a key."""
    with stack.http(None) as http:
        document = http.get("/openapi.json").json()
    with stack.http(key) as http:
        answer = http.request(method, path, json=body)
    operation = document["paths"][described or path][method.lower()]
    schema = operation["responses"][str(answer.status_code)]["content"]["application/json"]
    check(document, schema["schema"], answer.json())
    assert (operation.get("security") == []) is (key is None)
    if body is not None:
        (content,) = operation["requestBody"]["content"].values()
        name = content["schema"]["$ref"].rpartition("/")[2]
        assert set(body) <= set(document["components"]["schemas"][name]["properties"])


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("x-paddock-release", "r1", 403),
        ("content-encoding", "br", 415),
        ("x-paddock-class", "urgent", 400),
        ("content-length", "9000000", 413),
    ],
)
def test_what_a_header_is_refused_for_is_described(
    stack: Stack, header: str, value: str, status: int
) -> None:
    """As the errors of a body are."""
    request = {"host": "x", "authorization": f"Bearer {stack.secrets['client']}"}
    request |= {"connection": "close", "content-length": "32", header: value}
    lines = "".join(f"{name}: {each}\r\n" for name, each in request.items())
    body = json.dumps({"model": "raw", "prompt": "x"}).encode().ljust(32)
    with stack.http(None) as http:
        document = http.get("/openapi.json").json()
    with socket.create_connection(("127.0.0.1", stack.port), timeout=120) as one:
        one.sendall(f"POST /v1/completions HTTP/1.1\r\n{lines}\r\n".encode() + body)
        answer = b""
        while more := one.recv(65_536):
            answer += more
    head, _, said = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    described = document["paths"]["/v1/completions"]["post"]["responses"][str(status)]
    check(document, described["content"]["application/json"]["schema"], json.loads(said))


def test_a_probe_may_ask_for_the_head_alone(stack: Stack) -> None:
    """As load balancers do."""
    with stack.http(None) as http:
        assert [http.head(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_a_spent_budget_refuses_with_the_time_of_its_renewal(stack: Stack, client: OpenAI) -> None:
    """A key without money gets a 429 until its budget is changed; the others are answered."""
    asyncio.run(limit(stack, 0))
    refused = until(lambda: refusal(client))
    assert isinstance(refused, APIStatusError)
    assert refused.status_code == 429
    assert refused.code == "budget_spent"
    assert "The daily budget of key client (0.00 USD) is spent; it is renewed at" in str(refused)
    assert 0 < int(refused.response.headers["retry-after"]) <= 86_400
    with connect(stack, "operator") as other:
        assert chat(other).choices
    asyncio.run(limit(stack, 10**9))
    until(lambda: refusal(client) is None)


async def limit(stack: Stack, micro: int) -> None:
    """Set the daily budget of the client's key."""
    budget = Budget(scope=Scope.KEY, subject="client", period=Period.DAY, limit_micro=micro)
    store = await gateway_processes.opened(stack)
    try:
        await store.write(lambda s: budgets.set(s, budget, actor="t", at_us=1))
    finally:
        await store.close()


def until(true: Callable[[], Any]) -> Any:
    """Ask again until something holds; the gateway looks at the store once a second."""
    deadline = time.monotonic() + 60
    while not (found := true()):
        assert time.monotonic() < deadline
    return found


def refusal(client: OpenAI) -> APIStatusError | None:
    """Why a client is refused; None where it is answered."""
    try:
        chat(client, max_tokens=1)
    except APIStatusError as error:
        return error
    return None


def test_a_refusal_is_recorded_with_its_reason(stack: Stack, client: OpenAI) -> None:
    """What the request is to blame for apart from what its release is to blame for."""
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="raw", prompt="order 17 " * 600)
    with pytest.raises(openai.BadRequestError) as variables:
        chat(client, user="sara", extra_body={"prompt_variables": {"nobody": 1}})
    with pytest.raises(openai.InternalServerError) as broken:
        chat(client, model="faulty")
    found = []
    for caught in (long, variables, broken):
        row = until_recorded(stack, caught.value.response.headers["x-request-id"])
        found.append((row["outcome"], row["error_code"], row["completion_tokens"]))
    assert found == [
        ("invalid", "context_length_exceeded", 0),
        ("invalid", "invalid_prompt_variables", 0),
        ("failed", "prompt_broken", 0),
    ]


def test_a_slow_reader_holds_up_only_itself(stack: Stack, client: OpenAI) -> None:
    """While one does not read at all, others are answered; its answer waits or is given up."""
    body = json.dumps(
        {"model": "raw", "prompt": "order", "max_tokens": 400, "stream": True, "n": 8,
         "logprobs": 20, "seed": 1}
    ).encode()  # fmt: skip
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", stack.port))
        head = (
            "POST /v1/completions HTTP/1.1\r\nhost: x\r\n"
            f"authorization: Bearer {stack.secrets['client']}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        slow.sendall(head.encode() + body)
        assert slow.recv(16).startswith(b"HTTP/1.1 200")
        for _ in range(3):
            assert text_of(chat(client, user="sara"))


def test_a_client_that_only_stops_sending_gets_its_answer(stack: Stack) -> None:
    """Half of a connection is enough to read."""
    body = json.dumps({"model": "raw", "prompt": "order 17", "max_tokens": 40, "seed": 1}).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\n"
        f"authorization: Bearer {stack.secrets['client']}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.port)) as half:
        half.sendall(head.encode() + body)
        half.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: half.recv(65536), b""))
    assert b"HTTP/1.1 200 OK" in said
    assert json.loads(said[said.rindex(b"\r\n\r\n") :])["choices"]


def test_a_client_that_goes_before_its_answer_is_given_up(stack: Stack, client: OpenAI) -> None:
    """Its sequences are cancelled long before their end."""
    ask = {
        "model": "raw",
        "prompt": "order",
        "max_tokens": 400,
        "n": 16,
        "temperature": 2,
        "seed": 1,
    }
    body = json.dumps(ask).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\n"
        f"authorization: Bearer {stack.secrets['client']}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    (before,) = rows(stack, "SELECT count(*) AS n FROM requests WHERE outcome = 'cancelled'")
    with socket.create_connection(("127.0.0.1", stack.port)) as one:
        one.sendall(head.encode() + body)
    found = before
    while found["n"] == before["n"]:
        (found,) = rows(stack, "SELECT count(*) AS n FROM requests WHERE outcome = 'cancelled'")
    assert text_of(chat(client))


def test_connections_are_kept(stack: Stack) -> None:
    """Errors do not cost a connection."""
    with httpx.Client(base_url=stack.url) as http:
        ports = set()
        for path in ("/healthz", "/v1/models", "/nowhere", "/healthz"):
            stream = http.get(path).extensions["network_stream"]
            ports.add(stream.get_extra_info("client_addr")[1])
    assert len(ports) == 1


WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Rome", "Oslo"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "maxProperties": 0}},
}


def test_a_tool_is_called_where_it_has_to_be(client: OpenAI) -> None:
    """Whatever the model would say: its arguments fit their schema, streamed or not."""
    asked: dict[str, Any] = {
        "tools": [WEATHER], "tool_choice": "required", "seed": 4, "user": "sara", "max_tokens": 200,
        "parallel_tool_calls": False,
    }  # fmt: skip
    choice = chat(client, **asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.id.startswith("call_")
    assert call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert call.function.arguments == json.dumps(arguments)
    assert arguments["city"] in {"Rome", "Oslo"}
    assert arguments["days"] in range(1, 10)
    assert len(arguments) == 2

    chunks = streamed(client, **asked)
    parts = [p for c in chunks for p in c.choices[0].delta.tool_calls or []]
    assert {part.index for part in parts} == {0}
    assert [part.function.name for part in parts if part.function.name] == ["get_weather"]
    assert next(part.id for part in parts if part.id).startswith("call_")
    assert "".join(part.function.arguments for part in parts) == call.function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_the_tool_that_is_named_is_called_and_its_result_is_answered(client: OpenAI) -> None:
    """The turns of a whole conversation with a tool, as agents hold it."""
    named = {"type": "function", "function": {"name": "get_time"}}
    asked: dict[str, Any] = {"tools": [CLOCK], "user": "sara", "max_tokens": 100}
    message = chat(client, tool_choice=named, **asked).choices[0].message
    (call,) = message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_time", {})
    turns = [*ASK, message, {"role": "tool", "tool_call_id": call.id, "content": "12:00"}]
    answer = chat(client, messages=turns, tool_choice="none", **asked)
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert not answer.choices[0].message.tool_calls


def test_a_call_that_max_tokens_cuts_is_the_beginning_of_one(client: OpenAI) -> None:
    """The reason is length, and the arguments are cut text."""
    asked: dict[str, Any] = {
        "tools": [WEATHER], "tool_choice": "required", "seed": 4, "user": "sara",
        "parallel_tool_calls": False,
    }  # fmt: skip
    whole = chat(client, max_tokens=200, **asked)
    assert whole.usage is not None
    cut = chat(client, max_tokens=whole.usage.completion_tokens - 3, **asked).choices[0]
    assert cut.finish_reason == "length"
    (full,), (call,) = whole.choices[0].message.tool_calls or [], cut.message.tool_calls or []
    assert full.type == call.type == "function"
    assert full.function.arguments.startswith(call.function.arguments)
    assert full.function.arguments != call.function.arguments


def test_several_calls_may_be_made_where_one_has_to_be(client: OpenAI) -> None:
    """Each fits its schema, and nothing is written between them; the model would end after one."""
    asked: dict[str, Any] = {"tools": [CLOCK], "tool_choice": "required", "max_tokens": 200}
    longer = {"min_tokens": 60}
    choice = chat(client, user="sara", extra_body=longer, **asked).choices[0]
    assert choice.finish_reason in {"tool_calls", "length"}
    assert not choice.message.content
    made = [c.function for c in choice.message.tool_calls or [] if c.type == "function"]
    assert len(made) > 1
    assert all((call.name, call.arguments) == ("get_time", "{}") for call in made[:-1])


def test_beside_tools_an_answer_follows_any_constraint(client: OpenAI) -> None:
    """Or is a call; here the model has no reason to make one."""
    for extra, answers in (
        ({"guided_choice": ["red", "blue"]}, r"red|blue"),
        ({"guided_regex": "[0-9]{3}"}, r"[0-9]{3}"),
        ({"grammar": 'root ::= "x" [a-c]'}, r"x[a-c]"),
    ):
        choice = chat(client, tools=[CLOCK], user="sara", max_tokens=100, extra_body=extra).choices[
            0
        ]
        calls = choice.message.tool_calls or []
        assert calls or re.fullmatch(answers, choice.message.content or "")


FORM: Final = "response_format.json_schema.schema"


def form(schema: dict[str, Any]) -> dict[str, Any]:
    """An answer that matches a schema."""
    return {"response_format": {
        "type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (form({"$ref": "#"}), FORM),
        (form({"type": "object", "description": "x" * 1_000_000}), FORM),
        (form({"allOf": [{"anyOf": [{"properties": {f"p{n}{k}": {}}} for k in range(4)]}
                         for n in range(12)]}), FORM),
        ({"extra_body": {"grammar": 'start: "a" start'}}, "grammar"),
        ({"extra_body": {"guided_regex": "(([a-z]{1,100}){1,100}){1,100}"}}, "guided_regex"),
        ({"tools": [{"type": "function", "function": {"name": f"f{n}"}} for n in range(200)]},
         "tools"),
        ({"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "no"}}},
         "tool_choice.function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {
            "type": "object", "properties": {"a": {"$ref": "#/properties/a"}},
            "required": ["a"]}}}]}, "tools"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_what_cannot_be_held_is_refused_by_its_field_and_the_worker_lives(
    client: OpenAI, fields: dict[str, Any], param: str
) -> None:
    """Cycles, a megabyte, exploding alternatives, no end, too many tools, contradictions."""
    before = client.with_options(max_retries=0)
    with pytest.raises(openai.BadRequestError) as caught:
        chat(before, user="sara", **fields)
    assert caught.value.param == param
    assert text_of(chat(before, user="sara", max_tokens=2))


def test_a_schema_that_no_grammar_holds_is_refused_with_its_field(client: OpenAI) -> None:
    """To that request alone."""
    looking = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)b("}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": looking}}
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, tools=[tool], tool_choice="required", user="sara")
    assert caught.value.param == "tools"
    assert text_of(chat(client, user="sara"))
