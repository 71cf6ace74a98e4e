"""One request under way: what wakes its writer, what gives it up, when it is settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.backends.worker_client import WorkerClient
from engine.execution import calls
from engine.execution.calls import Flight
from engine.gateway import errors
from engine.gateway.openai_format import ChatPaper, Head
from engine.gateway.streaming import Stream
from engine.serving import wire
from storage.home import clock
from tests.engine.backends.fake_worker import FakeWorker

HEAD = Head(id="1", created=0, model="ops", fingerprint="fp")


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeWorker]:
    """A worker that takes orders and does not step until it is woken."""
    one = FakeWorker(tmp_path / "worker.sock", deaf=True)
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def client(fake: FakeWorker) -> AsyncIterator[WorkerClient]:
    """Its client."""
    here = asyncio.Event()
    one = WorkerClient(fake.socket, on_hello=lambda _: here.set())
    task = asyncio.create_task(one.run())
    await here.wait()
    yield one
    one.close()
    await task


def submit(max_tokens: int = 5) -> wire.Submit:
    """A greedy order."""
    return wire.Submit(
        id=0, adapter="", prompt=(wire.Segment("one two three", special=False),),
        sampling=wire.Sampling(0.0, 0, 1.0, 0.0, 1), max_tokens=max_tokens, stop=(), class_=0,
        tenant="t", queue_us=20_000_000, logprobs=-1,
    )  # fmt: skip


def flight(client: WorkerClient, *, choices: int = 1, streams: bool = True) -> Flight:
    """One that has taken off."""
    one = Flight(client, choices=choices, streams=streams, gaps=[], now_us=clock.monotonic_us)
    one.start([submit()] * choices)
    return one


async def over(one: Flight) -> None:
    """Wait for its end."""
    while not one.over:
        await one.moved()


async def test_choices_are_gathered_and_counted(client: WorkerClient, fake: FakeWorker) -> None:
    """Three sequences, one request; settled when the last has ended."""
    one = flight(client, choices=3, streams=False)
    fake.wake()
    await over(one)
    settled: list[bool] = []
    one.settle(lambda: settled.append(True))
    assert ["".join(choice.text) for choice in one.choices] == ["one two three one two"] * 3
    assert (one.problem, settled) == (None, [True])
    assert one.first_us is not None
    assert one.ended_us is not None
    assert len(one.gaps) == 3 * 4


async def test_a_flight_settles_when_the_worker_has_counted(
    client: WorkerClient, fake: FakeWorker
) -> None:
    """A client who leaves ends the request; its cost is known a moment later."""
    one = flight(client)
    await fake.got(wire.Submit)
    one.abandon()
    settled = asyncio.Event()
    one.settle(settled.set)
    assert (one.over, settled.is_set()) == (True, False)
    fake.wake()
    await settled.wait()
    assert one.choices[0].finish is not None
    assert one.choices[0].finish.reason == "cancelled"


async def test_one_refusal_fails_the_request_and_frees_the_rest(
    client: WorkerClient, fake: FakeWorker
) -> None:
    """All of n or none."""
    one = flight(client, choices=16)
    fake.wake()
    await over(one)
    assert isinstance(one.problem, errors.Overloaded)
    assert one.problem.headers()["retry-after"] == "2"
    settled = asyncio.Event()
    one.settle(settled.set)
    await settled.wait()
    assert not client.busy


async def test_who_does_not_read_is_given_up(client: WorkerClient, fake: FakeWorker) -> None:
    """What waits for a reader is bounded."""
    one = flight(client)
    await fake.got(wire.Submit)
    text = "x" * (calls.UNREAD_LIMIT // 4)
    for _ in range(5):
        fake.say(fake._step((wire.Delta(one.choices[0].id, text, 1, ()),)))
    await over(one)
    assert one.problem is not None
    assert one.problem.code == "slow_reader"
    assert one.unread <= calls.UNREAD_LIMIT + len(text)
    await fake.got(wire.Cancel)


async def test_a_writer_that_was_held_up_writes_all_at_once(
    client: WorkerClient, fake: FakeWorker
) -> None:
    """One chunk for what came meanwhile, not one for each token."""
    one = flight(client)
    sent: list[bytes] = []
    go_on = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        await go_on.wait()

    closed = asyncio.Event()
    stream = Stream(one, ChatPaper(HEAD), {}, keep=True, closed=closed.set)
    task = asyncio.create_task(stream({}, _never, send))
    fake.wake()
    ended = asyncio.Event()
    one.settle(ended.set)
    await ended.wait()
    go_on.set()
    await task
    assert closed.is_set()
    (body,) = [each for each in sent if each]
    assert body.count(b'"content":"one two three one two"') == 1
    assert body.endswith(b"data: [DONE]\n\n")
    assert one.choices[0].kept == ["one two three one two"]


async def _never() -> Any:
    await asyncio.Event().wait()


async def test_a_death_before_the_first_byte_is_not_seen(
    client: WorkerClient, fake: FakeWorker
) -> None:
    """What came in and was not shown yet is made again."""
    one = flight(client)
    await fake.got(wire.Submit)
    fake.say(fake._step((wire.Delta(one.choices[0].id, "half", 1, ()),)))
    await one.moved()
    fake.drop()
    await fake.got(wire.Submit, 2)
    fake.wake()
    await over(one)
    assert "".join(one.choices[0].text) == "one two three one two"
    assert one.problem is None
