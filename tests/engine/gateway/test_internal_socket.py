"""The internal socket: the same requests as over HTTP, by frames, for this box's own processes."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.execution import failures, frames, plan, prompts
from engine.execution.catalog import Catalog
from engine.execution.client import Client
from engine.execution.execute import Executor
from engine.execution.job import (
    Chat,
    Delta,
    Event,
    Finished,
    Job,
    Message,
    Options,
    Score,
    Scored,
    Text,
)
from engine.execution.previews import Previews
from engine.execution.snapshot import Snapshot
from engine.gateway import internal_socket
from engine.gateway.internal_socket import InternalSocket
from engine.process import peers
from engine.prompting.renderer.pool import Renderer
from storage import keys, requests
from storage import store as stores
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.releases import Release
from storage.requests import Class, Outcome, Request
from storage.store import Store
from tests.engine.execution import jobs
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS


class Slow:
    """A backend whose answers wait until `go`; it notes what was cancelled."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def run(self, job: Job) -> AsyncGenerator[tuple[Event, ...], None]:
        """Two batches."""
        self.begun.set()
        try:
            if job.max_tokens == 98:
                raise ValueError("unexpected")
            if job.max_tokens == 99:
                raise failures.Overloaded("full", code="queue_full", retry_after_us=7)
            yield (Delta(0, "one ", 1, (), 7),)
            await self.go.wait()
            yield Delta(0, "two", 1, (), 8), Finished(0, "stop", 3, 2, 5, 6)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def score(self, score: Score) -> Scored:
        """Of nothing; "wait" waits for ever."""
        if score.continuation == "wait":
            self.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        return Scored((), len(score.continuation), 4)

    def unready(self, _: Release) -> str | None:
        """Never."""
        return None

    def scores(self, _: Release) -> bool:
        """Always."""
        return True


class Served:
    """An internal socket over a slow backend, in this process."""

    def __init__(self, home: Home, store: Store) -> None:
        self.home = home
        self.backend = Slow()
        self.rows: list[Request] = []
        self.recorded = asyncio.Event()
        self.client = Client(home)
        executor = Executor(
            {"local": self.backend},
            record=self._record,
            gaps=lambda *_: [],
            now_us=clock.monotonic_us,
        )
        self.previews = Previews(store, executor, Snapshot)
        self.socket = InternalSocket(
            home,
            executor,
            self.previews,
            gateway_id="this",
            now_us=clock.now_us,
            monotonic_us=clock.monotonic_us,
        )

    def _record(self, request: Request, _: object) -> None:
        self.rows.append(request)
        self.recorded.set()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Listening."""
    home = homes.make(Home(tmp_path / "home"))
    store = await stores.open(home)
    one = Served(home, store)
    await one.socket.start()
    yield one
    await one.socket.close()
    await one.previews.close()
    await store.close()


async def test_events_come_as_they_are_made_and_the_job_is_recorded(served: Served) -> None:
    """The first batch comes before the second is made."""
    async with served.client.run(jobs.job(stream=True, record_text=True)) as execution:
        first = await anext(execution)
        assert [event.text for event in first if isinstance(event, Delta)] == ["one "]
        served.backend.go.set()
        answer = await execution.whole()
    assert (answer.text, answer.complete) == ("one two", True)
    await served.recorded.wait()
    assert (served.rows[0].outcome, served.rows[0].completion_tokens) == (Outcome.OK, 2)


async def test_only_its_owner_reaches_it(served: Served) -> None:
    """By the mode of the socket's file; the folder is private too."""
    mode = served.home.gateway_socket.stat().st_mode
    assert stat.S_IMODE(mode) & 0o077 == 0


async def test_a_client_that_closes_cancels_its_job(served: Served) -> None:
    """And it is recorded as cancelled."""
    async with served.client.run(jobs.job(stream=True)) as execution:
        await anext(execution)
    await served.backend.cancelled.wait()
    await served.recorded.wait()
    assert served.rows[0].outcome is Outcome.CANCELLED


async def test_a_failure_arrives_as_it_was(served: Served) -> None:
    """Its class, its code and the time to wait."""
    with pytest.raises(failures.Overloaded) as caught:
        await served.client.run(jobs.job(max_tokens=99)).whole()
    assert (caught.value.code, caught.value.retry_after_us) == ("queue_full", 7)


async def test_a_job_whose_id_was_used_is_refused_and_not_lost(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first runs and after it ended: the store keeps one record by id."""
    async with served.client.run(jobs.job(stream=True)) as execution:
        await anext(execution)
        for _ in range(2):
            with pytest.raises(failures.Invalid) as caught:
                await served.client.run(jobs.job(), deadline_us=2_000_000).whole()
            assert caught.value.code == "duplicate_id"
            served.backend.go.set()
            await execution.whole()
    assert [row.outcome for row in served.rows] == [Outcome.OK]
    monkeypatch.setattr(internal_socket, "IDS_LIMIT", 1)
    for id in ("req_2", "req_1"):
        assert (await served.client.run(jobs.job(id=id)).whole()).complete


async def test_an_unexpected_error_is_reported_as_one(served: Served) -> None:
    """Not as a gateway that is not there: trying again would not help."""
    with pytest.raises(failures.Broken) as caught:
        await served.client.run(jobs.job(max_tokens=98)).whole()
    assert caught.value.code == "internal"
    await served.recorded.wait()
    assert served.rows[0].outcome is Outcome.FAILED


async def test_a_job_that_takes_too_long_ends_at_its_deadline(served: Served) -> None:
    """Whatever the backend does."""
    with pytest.raises(failures.Unavailable) as caught:
        await served.client.run(jobs.job(stream=True), deadline_us=20_000).whole()
    assert caught.value.code == "deadline"
    await served.backend.cancelled.wait()


async def test_connections_are_bounded(served: Served) -> None:
    """One too many is refused with the time to wait; the others go on."""
    served.socket._connections._limits = peers.Limits("test", per_user=0, others=0, own=1)
    async with served.client.run(jobs.job(stream=True)) as execution:
        await anext(execution)
        with pytest.raises(failures.Overloaded) as caught:
            await served.client.score(
                Score(release=jobs.release(), input=Text(("x",)), continuation="y")
            )
        assert caught.value.code == "connections"
        served.backend.go.set()
        assert (await execution.whole()).complete


async def test_a_continuation_is_scored(served: Served) -> None:
    """By the backend of its release."""
    score = Score(release=jobs.release(), input=Text(("x",)), continuation="yes")
    assert await served.client.score(score) == Scored((), 3, 4)


async def test_a_client_that_closes_cancels_its_scoring(served: Served) -> None:
    """Long before its deadline."""
    score = Score(release=jobs.release(), input=Text(("x",)), continuation="wait")
    waiting = asyncio.create_task(served.client.score(score))
    await served.backend.begun.wait()
    waiting.cancel()
    async with asyncio.timeout(60):
        await served.backend.cancelled.wait()


async def test_draining_finishes_what_is_under_way_and_takes_nothing_new(served: Served) -> None:
    """A connection without a request is closed; a job that does not end is not waited for long."""
    with homes.short(served.home.gateway_socket) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    async with served.client.run(jobs.job(stream=True)) as execution:
        await anext(execution)
        await served.socket.drain(0.01)
        draining = asyncio.create_task(served.socket.drain(20))
        with pytest.raises(failures.Unavailable):
            await served.client.run(jobs.job()).whole()
        assert await reader.read() == b""
        assert not draining.done()
        served.backend.go.set()
        assert (await execution.whole()).complete
        await draining
    assert served.rows[0].outcome is Outcome.OK
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [b"\x00\x00\x00\x02hi", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"],
)
async def test_what_is_no_request_is_refused(served: Served, sent: bytes) -> None:
    """With a reason; the next one is served."""
    with homes.short(served.home.gateway_socket) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    writer.write(sent)
    response = await frames.read_response(reader)
    assert isinstance(response, frames.Failed)
    assert (response.kind, response.code) == ("Invalid", "invalid_frame")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    served.backend.go.set()
    assert (await served.client.run(jobs.job()).whole()).complete


async def test_without_a_gateway_the_reason_is_said(tmp_path: Path) -> None:
    """Waiting may help: it is put back when it dies."""
    client = Client(homes.make(Home(tmp_path / "home")))
    with pytest.raises(failures.Unavailable) as caught:
        await client.run(jobs.job()).whole()
    assert caught.value.code == "gateway_unavailable"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A real gateway with a real worker."""
    if not WEIGHTS.exists():
        pytest.skip("the shipped model is not here")
    made = asyncio.run(gateway_processes.furnish(tmp_path_factory.mktemp("internal") / "home"))
    with gateway_processes.running(made):
        made.start_worker(made.releases["plain"])
        made.start_gateway()
        made.until_ready()
        yield made


QUESTION = "Notes: order 17 is late. What is the status of order 17?"


async def planned(stack: Stack, service: str, input: Chat | Text, **options: Any) -> Job:
    """A job of a service, as any process of the box plans it."""
    store = await gateway_processes.opened(stack)
    renderer = Renderer(processes=1)
    catalog = Catalog(store, renderer, on_change=lambda _: None)
    await catalog.refresh()
    found = await catalog.service(service)
    async with store.read() as s:
        (key,) = [key for key in await keys.every(s) if key.name == "client"]
    await store.close()
    release = plan.release(catalog.snapshot, found, "sara")
    job = plan.job(
        id=f"req_{secrets.token_hex(8)}", at_us=0, arrived_us=0, endpoint="evaluation",
        service=found, release=release, key=key, input=input, options=Options(**options),
        new_seed=5,
    )  # fmt: skip
    async with renderer:
        return await prompts.with_prompt(catalog.snapshot, job, {})


async def test_the_same_request_gives_the_same_record_and_text_as_over_http(stack: Stack) -> None:
    """Who asked and how it came in apart: release, tokens, seed, outcome, prompt and answer."""
    with stack.http() as http:
        body = {
            "model": "ops", "messages": [{"role": "user", "content": QUESTION}], "user": "sara",
            "seed": 5, "max_tokens": 12, "temperature": 0.8,
        }  # fmt: skip
        response = http.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    over_http = response.json()
    job = await planned(
        stack, "ops", Chat((Message("user", QUESTION),)), seed=5, max_tokens=12, temperature=0.8
    )
    answer = await Client(stack.home).run(job).whole()
    assert answer.text == over_http["choices"][0]["message"]["content"]
    assert answer.prompt_tokens == over_http["usage"]["prompt_tokens"]
    with stack.http("operator") as http:
        thumb = {"request_id": job.id, "score": 1}
        http.post("/v1/feedback", json=thumb).raise_for_status()  # waits until it is recorded
    store = await gateway_processes.opened(stack)
    async with store.read() as s:
        rows = [await requests.find(s, id) for id in (over_http["id"], job.id)]
        texts = [await requests.text_of(s, row.id) for row in rows]
    await store.close()
    measured = dict.fromkeys(("id", "endpoint"), "") | dict.fromkeys(
        ("at_us", "queue_us", "ttft_us", "latency_us", "busy_us", "cached_tokens"), 0
    )
    http_row, internal_row = [msgspec.structs.replace(row, **measured) for row in rows]
    assert http_row == internal_row
    assert [text and (text.prompt, text.completion) for text in texts] == [
        (texts[0].prompt, answer.text) if texts[0] else None
    ] * 2
    assert (rows[1].endpoint, rows[1].class_) == ("evaluation", Class.INTERACTIVE)


async def test_a_real_worker_scores_what_it_would_say(stack: Stack) -> None:
    """Its own greedy continuation is likelier than nonsense of the same length."""
    prompt = Text(("Order 17 travels with",))
    job = await planned(stack, "raw", prompt, max_tokens=6)
    client = Client(stack.home)
    said = (await client.run(job).whole()).text

    async def total(continuation: str) -> float:
        score = Score(release=job.release, input=prompt, continuation=continuation)
        scored = await client.score(score)
        assert b"".join(token.raw for token in scored.tokens).decode() == continuation
        return sum(token.logprob for token in scored.tokens)

    assert await total(said) > await total("zq!" * 4)


async def test_a_gateway_that_stops_finishes_the_jobs_under_way(stack: Stack) -> None:
    """As it does for its HTTP clients, although it has none."""
    job = await planned(stack, "raw", Text(("Order 17 travels with",)), max_tokens=300)
    job = msgspec.structs.replace(job, id="req_drained", stream=True)
    async with Client(stack.home).run(job) as execution:
        await anext(execution)
        stack.processes["gateway"].send_signal(signal.SIGTERM)
        answer = await execution.whole()
    assert answer.complete
    assert stack.stop("gateway") == 0
    store = await gateway_processes.opened(stack)
    async with store.read() as s:
        assert (await requests.find(s, job.id)).outcome is Outcome.OK
    await store.close()
    stack.start_gateway()
    stack.until_ready()
