"""Rows on their way to the store: late by little, held in bounds, dropped only with a count."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.execution import recorder as recorders
from engine.execution.recorder import Recorder
from storage import errors, requests, samples, texts
from storage.requests import Outcome, Request
from storage.samples import ArmSample, Kind
from storage.sqlite import round_trips
from storage.store import Store
from storage.texts import Text
from tests.engine.execution import disks

ONE = Request(
    id="req_0", at_us=1, service="ops", release=1, worker="w", endpoint="/v1/completions",
    key_id=1, tenant="t", outcome=Outcome.OK, seed=2**63 + 5,
)  # fmt: skip


def request(number: int) -> Request:
    """One of many."""
    return msgspec.structs.replace(ONE, id=f"req_{number}")


def impossible(number: int) -> Request:
    """One that no store can hold."""
    return msgspec.structs.replace(ONE, id=f"req_{number}", at_us=2**70)


async def test_a_flush_writes_all_of_it(store: Store) -> None:
    """Requests in their order, texts where there are some, samples in their second."""
    recorder = Recorder(store)
    for number in range(2500):
        recorder.record(request(number))
    recorder.record(request(9999), Text(request_id="req_9999", prompt="p", completion="c", at_us=1))
    recorder.sample((100, Kind.ARM, "ops/r1", ArmSample(requests=1)))
    recorder.sample((101, Kind.ARM, "ops/r1", ArmSample(requests=2)))
    await recorder.flush()
    assert recorder.held == 0
    async with store.read() as s:
        newest = await requests.tail(s, 3000)
        text = await texts.of(s, "req_9999")
        seconds = await samples.since(s, 0, Kind.ARM)
    assert [r.id for r in newest] == ["req_9999", *(f"req_{n}" for n in range(2499, -1, -1))]
    assert text is not None
    assert [(second, sample.requests) for second, _, sample in seconds] == [(100, 1), (101, 2)]


async def test_a_flush_joins_the_write_under_way(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred who wait for a store that is held cost one attempt, not one after another."""
    attempts: list[object] = []
    let = asyncio.Event()

    async def held(work: object, **_: object) -> None:
        attempts.append(work)
        await let.wait()
        raise errors.Busy("another process holds it")

    monkeypatch.setattr(store, "write", held)
    recorder = Recorder(store)
    recorder.record(request(1))
    everybody = [asyncio.ensure_future(recorder.flush()) for _ in range(100)]
    await asyncio.wait(everybody, timeout=0)
    let.set()
    await asyncio.gather(*everybody)
    assert (len(attempts), recorder.held, recorder.trouble) == (1, 1, "another process holds it")


async def test_a_full_disk_holds_rows_and_loses_none(store: Store) -> None:
    """The reason is said while it lasts; afterwards everything is written."""
    recorder = Recorder(store)
    with disks.full():
        recorder.record(request(1))
        await recorder.flush()
        assert "disk" in str(recorder.trouble)
        recorder.record(request(2))
        await recorder.flush()
        assert recorder.held == 2
    await recorder.flush()
    assert (recorder.trouble, recorder.held, recorder.lost) == (None, 0, 0)
    async with store.read() as s:
        assert [r.id for r in await requests.tail(s)] == ["req_2", "req_1"]


async def test_what_is_held_is_bounded_and_what_is_lost_is_counted(store: Store) -> None:
    """The oldest go first."""
    recorder = Recorder(store)
    for number in range(recorders.ROWS_LIMIT + 5):
        recorder.record(request(number))
    assert (recorder.held, recorder.lost) == (recorders.ROWS_LIMIT, 5)


async def test_the_texts_that_are_held_are_bounded_by_their_size(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long prompts must not fill the memory while the disk is full; rows of figures stay."""
    monkeypatch.setattr(recorders, "TEXTS_LIMIT", 100)
    recorder = Recorder(store)
    for number in range(5):
        said = Text(request_id=f"req_{number}", prompt="p" * 30, completion="c" * 10, at_us=1)
        recorder.record(request(number), said)
    assert (recorder.held, recorder.lost) == (5 + 2, 3)
    await recorder.flush()
    recorder.record(request(5), Text(request_id="req_5", prompt="p" * 99, completion="", at_us=1))
    await recorder.flush()
    async with store.read() as s:
        kept = [number for number in range(6) if await texts.of(s, f"req_{number}")]
    assert (kept, recorder.lost) == ([3, 4, 5], 3)


async def test_a_row_that_breaks_a_rule_of_the_store_does_not_block_the_others(
    store: Store,
) -> None:
    """Dropped and counted, and the next one is written; an id that is there already is no fault."""
    recorder = Recorder(store)
    for row in (request(1), request(1), impossible(3), request(2)):
        recorder.record(row)
        await recorder.flush()
    assert (recorder.held, recorder.lost, recorder.trouble) == (0, 1, None)
    async with store.read() as s:
        assert [r.id for r in await requests.tail(s)] == ["req_2", "req_1"]


async def test_one_bad_row_costs_no_good_one(store: Store) -> None:
    """However many wait with it, of whatever kind."""
    recorder = Recorder(store)
    for number in range(50):
        said = Text(request_id=f"req_{number}", prompt="p", completion="c", at_us=1)
        recorder.record(request(number), said)
        recorder.sample((number, Kind.ARM, "ops/r1", ArmSample(requests=1)))
    recorder.record(impossible(51))
    recorder.record(request(50))
    await recorder.flush()
    assert (recorder.held, recorder.lost, recorder.trouble) == (0, 1, None)
    async with store.read() as s:
        written = [r.id for r in await requests.tail(s, 100)]
        kept = [number for number in range(50) if await texts.of(s, f"req_{number}")]
        seconds = [second for second, _, _ in await samples.since(s, 0, Kind.ARM)]
    assert written == [f"req_{number}" for number in range(50, -1, -1)]
    assert (kept, seconds) == (list(range(50)), list(range(50)))


async def test_rows_that_can_never_be_written_do_not_block_the_others(store: Store) -> None:
    """They are dropped, counted and logged."""
    recorder = Recorder(store)
    recorder.record(impossible(1))
    await recorder.flush()
    assert (recorder.held, recorder.lost, recorder.trouble) == (0, 1, None)
    recorder.record(request(2))
    await recorder.flush()
    assert recorder.lost == 1


def test_a_limit_on_file_size_is_an_error_and_no_signal(tmp_path: Path) -> None:
    """The premise of `disks.full`."""
    with disks.full(), pytest.raises(OSError) as caught:  # noqa: PT011 the number is looked at
        (tmp_path / "file").write_bytes(b"12")
    assert caught.value.errno == errno.EFBIG


async def test_a_second_is_written_in_few_turns_of_the_connection(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many requests it had: turns are most of what metering costs (`bench.monitor`)."""
    recorder = Recorder(store)
    await recorder.flush()
    turns = 0
    turn = round_trips.Connection.turn

    async def counted(self: round_trips.Connection, *asked: Any) -> Any:
        nonlocal turns
        turns += 1
        return await turn(self, *asked)

    monkeypatch.setattr(round_trips.Connection, "turn", counted)
    for second in (100, 101):
        turns = 0
        for number in range(300):
            recorder.record(request(second * 1_000 + number))
        recorder.sample((second, Kind.ARM, "ops/r1", ArmSample(requests=300)))
        recorder.sample((second, Kind.TENANT, "ops/t", ArmSample(requests=300)))
        await recorder.flush()
        assert recorder.held == 0
    assert turns <= 8
