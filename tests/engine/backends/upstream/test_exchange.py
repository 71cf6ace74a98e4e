"""Jobs over real connections: what is sent, what comes back, and everything that can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json

import msgspec
import pytest

from engine.backends.upstream import overhead, request
from engine.backends.upstream.health import Health, Targets
from engine.backends.upstream.server import Server, Settings
from engine.execution import failures
from engine.execution.job import (
    Chat,
    Constraint,
    Delta,
    Event,
    Finished,
    Message,
    Restarted,
    Sampling,
)
from storage.requests import Class
from tests.engine.backends.upstream import loopback
from tests.engine.backends.upstream.exchanges import SOON, events, exchange, failure
from tests.engine.backends.upstream.loopback import Asked, Reply
from tests.engine.execution import jobs
from tests.home_fixtures import free_port


def text(found: list[Event]) -> str:
    """The text of all deltas."""
    return "".join(event.text for event in found if isinstance(event, Delta))


async def hello(_: Asked, reply: Reply) -> None:
    """A short, correct answer."""
    await reply.head()
    await reply.text("Hel", "lo")
    await reply.finish("length", prompt_tokens=7, completion_tokens=2)


async def test_a_text_is_sent_on_with_its_settings_and_comes_back_as_events() -> None:
    """Sampling, limits, stop and seed arrive; usage is the upstream's own."""
    job = jobs.job(
        "Say hello.", stop=("\n",), sampling=Sampling(0.5, 0, 0.9, 0.1, 2**40 + 5), stream=True
    )
    async with loopback.serving(hello) as peer, exchange(peer.url, key="sk-1") as talk:
        found = await events(talk, job)
        assert talk.health.reason is None
    asked = peer.asked[0]
    assert asked.path == "/v1/completions"
    assert asked.headers["authorization"] == "Bearer sk-1"
    assert asked.headers["x-request-id"] == job.id
    assert asked.json == {
        "model": "m", "prompt": "Say hello.", "stream": True,
        "stream_options": {"include_usage": True}, "temperature": 0.5, "top_p": 0.9,
        "top_k": 1_000_000, "min_p": 0.1, "max_tokens": 5, "seed": (2**40 + 5) % 2**31,
        "stop": ["\n"],
    }  # fmt: skip
    assert text(found) == "Hello"
    assert [type(event) for event in found] == [Delta, Delta, Finished]
    finished = found[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.prompt_tokens, finished.completion_tokens) == ("length", 7, 2)


async def test_a_chat_is_sent_as_messages_and_only_what_openai_knows_where_that_is_set() -> None:
    """The template is the upstream's; template arguments reach it; extensions are left out."""

    async def answer(_: Asked, reply: Reply) -> None:
        await reply.head()
        await reply.event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        await reply.event({"choices": [{"delta": {"reasoning_content": "Hm."}}]})
        await reply.event({"choices": [{"delta": {"content": "Hi"}}]})
        await reply.event({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
        await reply.event("[DONE]")
        await reply.end()

    chat = Chat((Message("system", "Be terse."), Message("user", "Hi")), {"thinking": False})
    async with (
        loopback.serving(answer) as peer,
        exchange(peer.url, extensions=False) as talk,
    ):
        found = await events(talk, jobs.job(input=chat, logprobs=0))
    assert peer.asked[0].path == "/v1/chat/completions"
    body = peer.asked[0].json
    assert body["messages"] == [
        {"role": "system", "content": "Be terse."}, {"role": "user", "content": "Hi"},
    ]  # fmt: skip
    assert body["chat_template_kwargs"] == {"thinking": False}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 1)
    assert {"top_k", "min_p"}.isdisjoint(body)
    assert text(found) == "Hi"
    finished = found[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.prompt_tokens, finished.completion_tokens) == (
        "tool_calls",
        0,
        2,
    )


def test_penalties_and_bias_are_sent_under_the_names_that_servers_read() -> None:
    """OpenAI's everywhere; vLLM's and llama-server's names of the repetition penalty together."""
    sampling = Sampling(0.5, 0, 1.0, 0.0, 1, 1.2, 0.5, -0.5, None, 3, ((7, -100.0),))
    call = request.of(jobs.job(sampling=sampling), 0, model="m", extensions=True)
    plain = request.of(jobs.job(), 0, model="m", extensions=True)
    body = msgspec.json.decode(call.body)
    assert {name: body[name] for name in body.keys() - msgspec.json.decode(plain.body).keys()} == {
        "repetition_penalty": 1.2, "repeat_penalty": 1.2, "repeat_last_n": -1, "min_tokens": 3,
        "frequency_penalty": 0.5, "presence_penalty": -0.5, "logit_bias": {"7": -100.0},
    }  # fmt: skip


def test_a_setting_that_the_server_does_not_take_is_refused() -> None:
    """Because it would change the answer."""
    for field, sampling in (
        (None, Sampling(0.5, 0, 1.0, 0.0, 1, 1.0, 0.5, -0.5, None, 0, ((7, -100.0),))),
        ("repetition_penalty", Sampling(0.5, 0, 1.0, 0.0, 1, 1.2)),
        ("min_tokens", Sampling(0.5, 0, 1.0, 0.0, 1, min_tokens=1)),
    ):
        job = jobs.job(sampling=sampling)
        if field is None:
            request.of(job, 0, model="m", extensions=False)
            continue
        with pytest.raises(failures.Invalid) as refusal:
            request.of(job, 0, model="m", extensions=False)
        assert refusal.value.param == field


async def test_a_server_is_asked_once_what_it_is_where_a_constraint_depends_on_it() -> None:
    """One that does not say gets no field that it might ignore."""
    job = jobs.job(constraint=Constraint("choice", '["a","b"]', "guided_choice"))
    async with loopback.serving(hello) as peer, exchange(peer.url) as talk:
        with pytest.raises(failures.Invalid) as refusal:
            await events(talk, job)
        assert refusal.value.param == "guided_choice"
        assert peer.asked == []
        peer.owner = "vllm"
        await events(talk, job)
        peer.owner = ""
        await events(talk, job)
    assert [asked.json["structured_outputs"] for asked in peer.asked] == [
        {"choice": ["a", "b"]}
    ] * 2


@pytest.mark.parametrize("shape", ["chat", "text"])
async def test_log_probabilities_are_read_in_both_shapes(shape: str) -> None:
    """Alternatives come best first and no more than were asked for; bytes are exact."""
    top = [{"token": "b", "logprob": -2.0}, {"token": "a", "logprob": None}]
    shapes = {
        "chat": {
            "content": [
                {"token": "\ufffd", "logprob": -0.5, "bytes": [195], "top_logprobs": top},
            ]
        },
        "text": {
            "tokens": ["\N{COPYRIGHT SIGN}"],
            "token_logprobs": [-0.5],
            "top_logprobs": [{"a": None, "b": -2.0}],
        },
    }

    async def answer(_: Asked, reply: Reply) -> None:
        await reply.head()
        choice = {"index": 0, "text": "?", "logprobs": shapes[shape]}
        await reply.event({"choices": [choice]})
        await reply.finish()

    async with loopback.serving(answer) as peer, exchange(peer.url) as talk:
        found = await events(talk, jobs.job(logprobs=1))
    delta = found[0]
    assert isinstance(delta, Delta)
    (token,) = delta.logprobs
    assert token.chosen.raw == (b"\xc3" if shape == "chat" else b"\xc2\xa9")
    assert [(each.raw, each.logprob) for each in token.top] == [(b"b", -2.0)]


async def test_each_choice_is_a_request_with_a_seed_of_its_own() -> None:
    """Two prompts with two choices each are four requests, side by side, each with its usage."""

    async def answer(asked: Asked, reply: Reply) -> None:
        await reply.head()
        await reply.text(f"{asked.json['prompt']}/{asked.json['seed']}")
        await reply.finish(prompt_tokens=3, completion_tokens=1)

    job = jobs.job("a", "b", n=2, sampling=Sampling(1.0, 0, 1.0, 0.0, 10))
    async with loopback.serving(answer) as peer, exchange(peer.url) as talk:
        found = await events(talk, job)
    texts = {event.index: event.text for event in found if isinstance(event, Delta)}
    assert texts == {0: "a/10", 1: "a/11", 2: "b/12", 3: "b/13"}
    assert sorted(event.index for event in found if isinstance(event, Finished)) == [0, 1, 2, 3]


async def test_connections_are_kept_and_bounded_and_the_urgent_go_first() -> None:
    """One connection carries one request after the other; the queue is by class."""
    arrived, first = asyncio.Event(), asyncio.Event()

    async def answer(asked: Asked, reply: Reply) -> None:
        arrived.set()
        await first.wait()
        await hello(asked, reply)

    async with loopback.serving(answer) as peer, exchange(peer.url, max_connections=1) as talk:
        running = asyncio.create_task(events(talk, jobs.job("first")))
        await arrived.wait()
        waiting = [
            asyncio.create_task(events(talk, jobs.job(class_.value, class_=class_)))
            for class_ in (Class.BACKGROUND, Class.BATCH, Class.INTERACTIVE)
        ]
        for _ in range(10):  # each task needs a few turns of the loop to get into the queue
            await asyncio.sleep(0)
        assert talk.server.slots.waiting == 3
        waited = [talk.server.slots.oldest(), *talk.server.unanswered.values()]
        assert talk.server.oldest() == min(each for each in waited if each is not None)
        first.set()
        await asyncio.gather(running, *waiting)
        assert talk.server.oldest() is None
        assert peer.connections == 1
    order = [asked.json["prompt"] for asked in peer.asked]
    assert order == ["first", "interactive", "batch", "background"]


async def test_no_place_in_time_is_a_refusal_and_no_fault() -> None:
    """The queue's deadline is the job's; a place that was waited for in vain is not lost."""
    hold, arrived = asyncio.Event(), asyncio.Event()

    async def answer(asked: Asked, reply: Reply) -> None:
        arrived.set()
        await hold.wait()
        await hello(asked, reply)

    async with loopback.serving(answer) as peer, exchange(peer.url, max_connections=1) as talk:
        running = asyncio.create_task(events(talk, jobs.job()))
        await arrived.wait()
        with pytest.raises(failures.Unavailable) as failed:
            await events(talk, jobs.job(queue_us=20_000))
        assert failed.value.code == "deadline"
        with pytest.raises(failures.Invalid) as unsent:
            await events(talk, jobs.job(queue_us=20_000, prompt_logprobs=1))
        assert unsent.value.code == "unsupported_parameter", "which is no question of places"
        hold.set()
        assert text(await running) == "Hello"
        assert text(await events(talk, jobs.job())) == "Hello"


async def test_closing_a_run_closes_the_request() -> None:
    """The upstream sees its client go, so that it stops computing; the place is free again."""
    gone = asyncio.Event()

    async def answer(_: Asked, reply: Reply) -> None:
        await reply.head()
        await reply.text("one")
        await reply.gone()
        gone.set()

    async with loopback.serving(answer) as peer, exchange(peer.url) as talk:
        run = talk.run(jobs.job(stream=True))
        batch = await anext(run)
        assert text(list(batch)) == "one"
        await run.aclose()
        await asyncio.wait_for(gone.wait(), 10)
        assert talk.server.slots.used == 0


async def test_cancelling_one_job_of_several_choices_ends_all_its_requests() -> None:
    """No task of a choice outlives its job."""
    begun, ended = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def answer(_: Asked, reply: Reply) -> None:
        begun.release()
        await reply.gone()
        ended.release()

    async with loopback.serving(answer) as peer, exchange(peer.url) as talk:
        task = asyncio.create_task(events(talk, jobs.job(n=3)))
        for _ in range(3):
            await begun.acquire()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for _ in range(3):
            await asyncio.wait_for(ended.acquire(), 10)
        assert talk.server.slots.used == 0


async def test_a_server_that_does_not_stream_is_understood() -> None:
    """It ignores `stream` and answers with one document."""

    async def answer(_: Asked, reply: Reply) -> None:
        await reply.document(
            {
                "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 4, "completion_tokens": 1},
            }
        )

    async with loopback.serving(answer) as peer, exchange(peer.url) as talk:
        found = await events(talk, jobs.chat("Hi"))
    assert text(found) == "Hello"
    assert isinstance(found[-1], Finished)
    assert found[-1].prompt_tokens == 4


async def test_a_long_answer_is_no_long_head() -> None:
    """Heads are bounded and answers are not, on a connection that is used again, too."""

    async def answer(_: Asked, reply: Reply) -> None:
        choice = {"text": "Hello", "finish_reason": "stop"}
        await reply.document({"choices": [choice], "padding": "x" * 3 * overhead.LIMIT})

    async with loopback.serving(answer) as peer, exchange(peer.url) as talk:
        for _ in range(2):
            assert text(await events(talk, jobs.job())) == "Hello"
    assert peer.connections == 1


# what can go wrong


async def page(_: Asked, reply: Reply) -> None:
    """HTML with 200, as a proxy's login page."""
    await reply.head(200, "text/html", content_length="13")
    await reply.raw(b"<html></html>")


async def half(_: Asked, reply: Reply) -> None:
    """Half a stream: the body ends, the answer does not."""
    await reply.head()
    await reply.text("Hel")
    await reply.end()


async def cut(_: Asked, reply: Reply) -> None:
    """Half a stream: the connection ends."""
    await reply.head()
    await reply.text("Hel")
    reply.close()


async def short(_: Asked, reply: Reply) -> None:
    """Fewer bytes than announced."""
    await reply.head(200, content_length="1000")
    await reply.raw(b'data: {"choices": [{"text": "Hel"}]}\n\n')
    reply.close()


async def surplus(_: Asked, reply: Reply) -> None:
    """More bytes than announced: what was announced is cut off in an event."""
    await reply.head(200, content_length="20")
    await reply.raw(b'data: {"choices": [{"text": "Hello"}]}\n\ndata: [DONE]\n\n')


async def silent(_: Asked, reply: Reply) -> None:
    """Never a byte."""
    await reply.gone()


async def _comment(reply: Reply) -> None:
    """A comment every few milliseconds until the client leaves."""
    with contextlib.suppress(ConnectionError):
        while True:
            await reply.chunk(b": still here\n\n")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reply.gone(), 0.01)
                return


async def stalling(_: Asked, reply: Reply) -> None:
    """Comments for ever, after a first token."""
    await reply.head()
    await reply.text("Hel")
    await _comment(reply)


async def commenting(_: Asked, reply: Reply) -> None:
    """Comments for ever, and never a token."""
    await reply.head()
    await _comment(reply)


async def busy(_: Asked, reply: Reply) -> None:
    """429 with Retry-After."""
    await reply.document({"error": {"message": "slow down"}}, 429, retry_after="7")


async def locked(_: Asked, reply: Reply) -> None:
    """The key is not accepted."""
    await reply.document({"error": {"message": "Incorrect API key provided: sk-1"}}, 401)


async def inside(_: Asked, reply: Reply) -> None:
    """200 with an error inside."""
    await reply.document({"error": {"message": "CUDA out of memory", "code": 500}})


async def inside_stream(_: Asked, reply: Reply) -> None:
    """A stream that begins, and ends with an error event."""
    await reply.head()
    await reply.text("Hel")
    await reply.event({"error": {"message": "slot failed", "type": "server_error", "code": 500}})
    await reply.end()


async def flat(_: Asked, reply: Reply) -> None:
    """The error of an old vLLM: flat, and with a status in its code."""
    message = "This model's maximum context length is 512 tokens."
    await reply.document({"object": "error", "message": message, "code": 400}, 400)


async def too_long(_: Asked, reply: Reply) -> None:
    """llama-server's own type for a prompt that is too long."""
    error = {"code": 400, "message": "too big", "type": "exceed_context_size_error"}
    await reply.document({"error": error}, 400)


async def loading(_: Asked, reply: Reply) -> None:
    """A server that is still loading its model."""
    error = {"message": "Loading model", "type": "unavailable_error", "code": 503}
    await reply.document({"error": error}, 503, retry_after="3")


async def unknown_model(_: Asked, reply: Reply) -> None:
    """The release asks for a model that is not there."""
    await reply.document({"error": {"message": "The model `m` does not exist."}}, 404)


async def invalid(_: Asked, reply: Reply) -> None:
    """FastAPI's own error for a field of the wrong kind."""
    detail = [{"loc": ["body", "stop"], "msg": "at most 4 stop strings"}]
    await reply.document({"detail": detail}, 422)


async def interim(_: Asked, reply: Reply) -> None:
    """Interim responses for ever, each of them a whole head."""
    with contextlib.suppress(ConnectionError):
        while True:
            await reply.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


async def extended(_: Asked, reply: Reply) -> None:
    """Chunks of one byte with extensions of 32 KiB."""
    await reply.head()
    with contextlib.suppress(ConnectionError):
        while True:
            await reply.raw(b"1;" + b"x" * 32_768 + b"\r\n:\r\n")


async def redirecting(_: Asked, reply: Reply) -> None:
    """A redirect, which could carry the key elsewhere."""
    await reply.head(302, location="http://127.0.0.1:1/v1")
    await reply.end()


async def broken_json(_: Asked, reply: Reply) -> None:
    """Half a document in an event."""
    await reply.head()
    await reply.event('{"choices": [{"text": "He')
    await reply.finish()


async def mistyped(_: Asked, reply: Reply) -> None:
    """JSON of the wrong shape."""
    await reply.head()
    await reply.event({"choices": [{"text": {"what": 1}}]})
    await reply.finish()


async def unfinished(_: Asked, reply: Reply) -> None:
    """[DONE] without a finish_reason."""
    await reply.head()
    await reply.text("Hel")
    await reply.event("[DONE]")
    await reply.end()


async def endless_line(_: Asked, reply: Reply) -> None:
    """A line that never ends."""
    await reply.head()
    with contextlib.suppress(ConnectionError):
        while True:
            await reply.chunk(b"data: " + b"x" * 65536)


async def single_bytes(_: Asked, reply: Reply) -> None:
    """A line that never ends, in chunks of one byte."""
    await reply.head()
    with contextlib.suppress(ConnectionError):
        while True:
            await reply.raw(b"1\r\nx\r\n" * 1000)


async def single_bytes_of_a_document(_: Asked, reply: Reply) -> None:
    """A document instead of a stream, in chunks of one byte."""
    await reply.head(200, "application/json")
    with contextlib.suppress(ConnectionError):
        while True:
            await reply.raw(b"1\r\n \r\n" * 1000)


async def endless_comments(_: Asked, reply: Reply) -> None:
    """Comments after a first token, as fast as they are read."""
    await reply.head()
    await reply.text("Hel")
    with contextlib.suppress(ConnectionError):
        while True:
            await reply.raw(b"3\r\n:\n\n\r\n" * 1000)


async def endless_answer(asked: Asked, reply: Reply) -> None:
    """Token after token, whatever max_tokens says."""
    await reply.head()
    event = b"data: " + json.dumps({"choices": [{"text": "word " * 20}]}).encode() + b"\n\n"
    with contextlib.suppress(ConnectionError):
        for _ in range(100 * asked.json["max_tokens"]):
            await reply.chunk(event)


async def compressed(_: Asked, reply: Reply) -> None:
    """Compression that was not asked for: a small body of any size."""
    data = gzip.compress(b"x" * 1_000_000)
    await reply.head(200, content_encoding="gzip", content_length=str(len(data)))
    await reply.raw(data)


async def not_http(_: Asked, reply: Reply) -> None:
    """Another protocol on the port."""
    await reply.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    reply.close()


BAD = [
    (page, failures.Broken, "upstream_malformed", "content type text/html"),
    (half, failures.Unavailable, "upstream_lost", "before the answer was complete"),
    (cut, failures.Unavailable, "upstream_lost", "before the answer was complete"),
    (short, failures.Unavailable, "upstream_lost", "before the answer was complete"),
    (surplus, failures.Unavailable, "upstream_lost", "before the answer was complete"),
    (busy, failures.Overloaded, "upstream_overloaded", "slow down"),
    (locked, failures.Broken, "upstream_rejects_key", "rejects the key"),
    (inside, failures.Broken, "upstream_error", "CUDA out of memory"),
    (inside_stream, failures.Broken, "upstream_error", "slot failed"),
    (flat, failures.Invalid, "context_length_exceeded", "512 tokens"),
    (too_long, failures.Invalid, "context_length_exceeded", "too big"),
    (loading, failures.Unavailable, "upstream_unavailable", "Loading model"),
    (unknown_model, failures.Broken, "upstream_model_unknown", "does not exist"),
    (invalid, failures.Invalid, "upstream_refused", "at most 4 stop strings"),
    (interim, failures.Broken, "upstream_malformed", "8 heads came before its response"),
    (extended, failures.Broken, "upstream_malformed", "bytes of content"),
    (redirecting, failures.Broken, "upstream_malformed", "HTTP 302"),
    (broken_json, failures.Broken, "upstream_malformed", "violates the API"),
    (mistyped, failures.Broken, "upstream_malformed", "violates the API"),
    (unfinished, failures.Broken, "upstream_malformed", "without a finish_reason"),
    (endless_line, failures.Broken, "upstream_malformed", "an event exceeds"),
    (single_bytes, failures.Broken, "upstream_malformed", "pieces of its answer"),
    (single_bytes_of_a_document, failures.Broken, "upstream_malformed", "pieces of its answer"),
    (endless_comments, failures.Broken, "upstream_malformed", "no event"),
    (endless_answer, failures.Broken, "upstream_malformed", "longer than max_tokens"),
    (compressed, failures.Broken, "upstream_malformed", "compressed"),
    (not_http, failures.Broken, "upstream_malformed", "does not answer as"),
]


@pytest.mark.parametrize(
    ("script", "family", "code", "said"), BAD, ids=[script.__name__ for script, *_ in BAD]
)
async def test_every_wrong_answer_is_a_failure_with_a_name(
    script: loopback.Script, family: type[failures.Failure], code: str, said: str
) -> None:
    """The client gets the reason, the slot is free again, a key is never repeated."""
    failed = await failure(script, key="sk-1")
    assert (type(failed), failed.code) == (family, code)
    assert said in failed.message
    assert "sk-1" not in failed.message


async def test_the_upstreams_own_wait_is_passed_on() -> None:
    """Seven seconds, and three while it loads."""
    assert (await failure(busy)).retry_after_us == 7_000_000
    assert (await failure(loading)).retry_after_us == 3_000_000


@pytest.mark.parametrize("script", [silent, commenting], ids=["silent", "commenting"])
async def test_silence_ends_with_the_jobs_deadline(script: loopback.Script) -> None:
    """No token within what the job may wait: comments are none."""
    failed = await failure(script, jobs.job(queue_us=200_000, stream=True))
    assert (type(failed), failed.code) == (failures.Unavailable, "upstream_timeout")


async def test_silence_in_the_middle_ends_with_the_read_timeout() -> None:
    """Whatever keeps the connection alive: only tokens count."""
    failed = await failure(stalling, read_s=0.2)
    assert (type(failed), failed.code) == (failures.Unavailable, "upstream_stalled")


async def test_an_unreachable_server_fails_immediately_and_counts_as_unhealthy() -> None:
    """A refused connection is no reason to wait for the deadline."""
    async with exchange(f"http://127.0.0.1:{free_port()}/v1") as talk:
        talk.health.succeeded()
        with pytest.raises(failures.Unavailable, match="connection refused") as failed:
            await events(talk, jobs.job())
        assert failed.value.code == "upstream_unreachable"
        assert talk.health.reason == "it is unreachable: connection refused"


async def test_a_few_failures_in_a_row_make_unready_whatever_the_health_check_says() -> None:
    """A server may answer its health check and compute nothing; one answer makes it ready again."""
    async with loopback.serving(half) as peer, exchange(peer.url) as talk:
        await talk.health.probe()
        for reason in (None, None, "it closed the connection"):
            with pytest.raises(failures.Unavailable):
                await events(talk, jobs.job(stream=True))
            await talk.health.probe()
            assert (talk.health.reason or "").startswith(reason or "")
            assert (reason is None) == (talk.health.reason is None)
        peer.script = hello
        await events(talk, jobs.job())
        assert talk.health.reason is None


def losing(times: int, *, after: str = "") -> loopback.Script:
    """A server that loses so many connections, perhaps after some text, and then answers."""
    left = [times]

    async def answer(asked: Asked, reply: Reply) -> None:
        if left[0] == 0:
            await hello(asked, reply)
            return
        left[0] -= 1
        if after:
            await reply.head()
            await reply.text(after)
        reply.close()

    return answer


@pytest.mark.parametrize("stream", [True, False])
async def test_a_lost_connection_is_tried_again_once_before_the_first_token(stream: bool) -> None:
    """A kept connection may have been closed by the other side just now."""
    async with loopback.serving(losing(1)) as peer, exchange(peer.url) as talk:
        found = await events(talk, jobs.job(stream=stream))
    assert text(found) == "Hello"
    assert not any(isinstance(event, Restarted) for event in found)
    assert len(peer.asked) == 2
    failed = await failure(losing(2), jobs.job(stream=stream))
    assert failed.code == "upstream_lost"


async def test_an_answer_that_is_not_streamed_begins_again_once() -> None:
    """What came before is void, and says so; a stream that had begun ends with an error."""
    async with loopback.serving(losing(1, after="Hal")) as peer, exchange(peer.url) as talk:
        found = await events(talk, jobs.job(stream=False))
    kinds = [type(event) for event in found]
    assert kinds == [Delta, Restarted, Delta, Delta, Finished]
    assert (await failure(losing(1, after="Hal"), jobs.job(stream=True))).code == "upstream_lost"


async def test_a_health_check_makes_ready_and_unready() -> None:
    """Each outcome is a reason that people can act on; a missing key is not called a wrong one."""
    async with loopback.serving(hello) as peer, exchange(peer.url) as keyless:
        peer.health = 401
        await keyless.health.probe()
        assert "requires an API key, and none is set" in (keyless.health.reason or "")
    async with loopback.serving(hello) as peer, exchange(peer.url, key="sk-1") as talk:
        health = talk.health
        assert health.reason == "it was not reached yet"
        for status, said in (
            (200, None), (401, "rejects the key"), (503, "HTTP 503"), (429, None), (404, "404"),
        ):  # fmt: skip
            peer.health = status
            await health.probe()
            assert (said is None) == (health.reason is None)
            assert said is None or said in (health.reason or "")
        peer.health = 200
        await health.probe()
        assert health.reason is None


async def test_the_load_is_the_servers_own_where_it_tells() -> None:
    """Its counters become tokens of the second; what it had before it was watched is not ours."""
    async with loopback.serving(hello) as peer:
        server = Server(Settings(name="peer", url=peer.url, **SOON))
        root = peer.url.removesuffix("/v1")
        health = Health(server, Targets(f"{peer.url}/models", f"{root}/metrics"))
        try:
            samples = []
            for second, tokens in ((10, 5000), (11, 5040), (12, 30)):
                peer.metrics = (
                    f"vllm:num_requests_running 3\nvllm:num_requests_waiting 1\n"
                    f"vllm:generation_tokens_total {tokens}\nvllm:prompt_tokens_total 100\n"
                )
                await health.probe()
                samples += [sample for *_, sample in health.rows(second, "peer:1")]
        finally:
            await server.close()
    load = [(each.running, each.waiting, each.decode_tokens) for each in samples]  # type: ignore[union-attr]
    assert load == [(3, 1, 0), (3, 1, 40), (3, 1, 30)]


async def test_without_metrics_the_load_is_what_this_box_sends() -> None:
    """Requests under way, those that wait for a place, and the tokens of those that ended."""
    async with loopback.serving(hello) as peer, exchange(peer.url) as talk:
        await events(talk, jobs.job())
        rows = list(talk.health.rows(10, "peer:1"))
        quiet = list(talk.health.rows(11, "peer:1"))
    (_, _, subject, sample) = rows[0]
    assert subject == "peer:1"
    assert (sample.prefill_tokens, sample.decode_tokens) == (7, 2)  # type: ignore[union-attr]
    assert sample.kv_total_tokens is None  # type: ignore[union-attr]
    assert quiet == []
