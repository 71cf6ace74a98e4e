"""Embeddings on the local backend: their parts, what fails them, and what they cost."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.backends.embedding_run import AT_ONCE, PART
from engine.backends.pending import PendingRequests
from engine.backends.worker_client import Refusal, ResultReceiver, WorkerClient
from engine.execution import failures
from engine.execution.job import Embed, Rerank
from engine.serving import wire
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.requests import Outcome
from tests.engine.backends.test_local import Box, snapshot

INPUTS = tuple((str(number),) for number in range(PART + 8))


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    """A worker that answers what the test says."""
    made = Box(homes.make(Home(tmp_path / "home")))
    await made.worker.start()
    made.fleet.follow(snapshot(made.release))
    try:
        yield made
    finally:
        await made.close()


async def asked(box: Box, count: int = 2) -> list[wire.Embed]:
    """What the worker was sent, once it has so many parts."""
    await box.worker.got(wire.Embed, count)
    return [each for each in box.worker.received if isinstance(each, wire.Embed)]


def answered(part: wire.Embed, queue_us: int = 10) -> wire.Embedded:
    """A vector of one number for each input: the one that it spells."""
    values = [float(str(text)) for (text,) in part.inputs]
    return wire.Embedded(
        part.id, struct.pack(f"<{len(values)}f", *values), 1, (2,) * len(values), queue_us, 7
    )


async def test_a_large_job_is_sent_part_by_part_and_outlives_its_queue_time(box: Box) -> None:
    """The next part goes when one has ended; the job has begun, so it has its whole time again."""
    inputs = tuple((str(number),) for number in range(PART * (AT_ONCE + 2)))
    arrived_us = clock.monotonic_us() - 3_000_000_000
    execution = box.run(input=Embed(inputs), arrived_us=arrived_us, queue_us=3_600_000_000)
    whole = asyncio.create_task(execution.whole())
    parts = await asked(box, AT_ONCE)
    assert len(parts) == AT_ONCE
    assert all(part.queue_us <= 600_000_000 for part in parts)
    for count in (AT_ONCE + 1, AT_ONCE + 2):
        box.worker.say(answered(parts.pop(0)))
        parts.append((await asked(box, count))[-1])
        assert len(await asked(box, count)) == count
        assert parts[-1].queue_us > 600_000_000
    for part in parts:
        box.worker.say(answered(part))
    answer = await whole
    assert answer.vectors is not None
    found = struct.unpack(f"<{len(inputs)}f", answer.vectors.values)
    assert list(found) == list(range(len(inputs)))


async def test_the_queue_time_is_that_of_the_part_that_began_first(box: Box) -> None:
    """The others wait while it is computed."""
    execution = box.run(input=Embed(INPUTS))
    whole = asyncio.create_task(execution.whole())
    one, other = await asked(box)
    box.worker.say(answered(one))
    box.worker.say(answered(other, queue_us=5_000_000_000))
    await whole
    assert (await box.row()).queue_us < 5_000_000_000


async def test_the_time_that_a_part_is_held_for_a_worker_is_queue_time() -> None:
    """As it is of text."""
    now = [100]
    pending = PendingRequests(lambda: now[0], dict, lambda: 0)
    client = WorkerClient(
        Path("none"), pending=pending, on_change=lambda: None, now_us=lambda: now[0]
    )
    receiver = ResultReceiver(wire.Embedded)
    request = pending.add(wire.Embed(0, "", (("1",),), 0, "t", 9_000), receiver)
    now[0] = 800
    sent = pending.send(request, client)
    assert isinstance(sent, wire.Embed)
    client.received(wire.Outbox((answered(sent),)))
    assert (await receiver.result(lambda: None)).queue_us == 700 + 10


@pytest.mark.parametrize("part_of", [0, 1], ids=["first", "further"])
async def test_a_further_part_that_waited_long_outlives_its_worker(part_of: int) -> None:
    """How long a job may wait is for its first part; the others wait behind those of other jobs."""
    now = [100]
    pending = PendingRequests(lambda: now[0], dict, lambda: 0)
    client = WorkerClient(
        Path("none"), pending=pending, on_change=lambda: None, now_us=lambda: now[0]
    )
    receiver = ResultReceiver(wire.Embedded)
    item = wire.Embed(0, "", (("1",),), 0, "t", 9_000_000, request=part_of)
    sent = pending.add(item, receiver)
    pending.send(sent, client)
    now[0] = 10_000_000
    pending.lost(sent, died=True)
    assert pending.held() == ([sent] if part_of else [])
    pending.refuse_all("the test is over")
    with pytest.raises(Refusal) as refusal:
        await receiver.result(lambda: None)
    assert refusal.value.refused.code == ("worker_gone" if part_of else "no_worker")


async def test_parts_are_put_together_in_their_order(box: Box) -> None:
    """Whichever ends first; tokens and times are summed."""
    execution = box.run(input=Embed(INPUTS))
    whole = asyncio.create_task(execution.whole())
    one, other = await asked(box)
    assert (len(one.inputs), len(other.inputs)) == (PART, 8)
    assert (one.request, other.request) == (0, one.id)
    box.worker.say(answered(other))
    box.worker.say(answered(one))
    answer = await whole
    assert answer.vectors is not None
    found = struct.unpack(f"<{len(INPUTS)}f", answer.vectors.values)
    assert list(found) == list(range(len(INPUTS)))
    row = await box.row()
    assert (row.outcome, row.prompt_tokens, row.completion_tokens) == (
        Outcome.OK, 2 * len(INPUTS), 0,
    )  # fmt: skip
    assert (row.busy_us, row.ttft_us, row.worker) == (14, None, "ops-1.0.0:1")


async def test_a_part_that_is_refused_fails_all(box: Box) -> None:
    """The place is that of the input in the request; the others are cancelled and charged."""
    execution = box.run(input=Embed(INPUTS))
    whole = asyncio.create_task(execution.whole())
    one, other = await asked(box)
    box.worker._refused.append(wire.Refused(other.id, "too_long", "too long", 0, place=3))
    box.worker.wake()
    with pytest.raises(failures.Invalid) as failed:
        await whole
    assert (failed.value.code, failed.value.param) == (
        "context_length_exceeded", f"input[{PART + 3}]",
    )  # fmt: skip
    await box.worker.got(wire.Cancel)
    box.worker._finished.append(wire.Finished(one.id, "cancelled", 5, 0, 0, 0, 9))
    box.worker.wake()
    row = await box.row()
    assert (row.outcome, row.prompt_tokens, row.busy_us) == (Outcome.INVALID, 5, 9)


async def test_what_a_dead_worker_had_is_asked_again(box: Box) -> None:
    """And only that: a part that was answered stays."""
    execution = box.run(input=Embed(INPUTS))
    whole = asyncio.create_task(execution.whole())
    one, other = await asked(box)
    box.worker.say(answered(one))
    box.worker.drop()
    again = (await asked(box, 3))[2]
    assert (again.id, again.inputs) == (other.id, other.inputs)
    box.worker.say(answered(again))
    assert (await whole).vectors is not None


async def test_a_client_that_leaves_cancels_every_part(box: Box) -> None:
    """What was computed is charged to it."""
    execution = box.run(input=Embed(INPUTS))
    whole = asyncio.create_task(execution.whole())
    parts = await asked(box)
    execution.cancel()
    await box.worker.got(wire.Cancel, 2)
    for part in parts:
        box.worker._finished.append(wire.Finished(part.id, "cancelled", 3, 0, 0, 0, 4))
    box.worker.wake()
    await whole
    row = await box.row()
    assert (row.outcome, row.prompt_tokens, row.busy_us) == (Outcome.CANCELLED, 6, 8)


async def test_documents_go_with_their_query(box: Box) -> None:
    """An error names the field that has them."""
    execution = box.run(input=Rerank("q", ("a", "b"), field="texts"))
    whole = asyncio.create_task(execution.whole())
    (part,) = await asked(box, 1)
    assert (part.query, part.inputs) == ("q", (("a",), ("b",)))
    box.worker._refused.append(wire.Refused(part.id, "too_long", "too long", 0, place=1))
    box.worker.wake()
    with pytest.raises(failures.Invalid) as failed:
        await whole
    assert failed.value.param == "texts[1]"
