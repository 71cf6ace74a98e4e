"""Samples: a row for a second, kind and subject; the newest; sums that are sums."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from storage import rollup_rows, samples
from storage.sample_rows import MinuteRow
from storage.samples import ArmSample, GatewaySample, GpuSample, HostSample, InstanceSample, Kind
from storage.sketches import Sketch
from storage.store import Store

HOST = HostSample(
    cpu_percent=12.5, cores=2, memory_used=1, memory_total=2, disk_used=3, disk_total=4, load1=0.5
)
GPU = GpuSample(
    index=0, name="H200", utilisation_percent=87.0, memory_used=1, memory_total=2, power_mw=3,
    power_limit_mw=4, temperature_c=71, throttle=("power cap",),
)  # fmt: skip
WORKER = InstanceSample(
    running=1, waiting=2, max_running=3, oldest_waiting_us=4, sequences=5, kv_used_tokens=6,
    kv_total_tokens=7, steps=8, prefill_tokens=9, decode_tokens=10, busy_us=11, idle_us=12,
    batch_max=13,
)  # fmt: skip


def arm(*latencies_us: int, **counts: Any) -> ArmSample:
    """An arm that answered requests which took so long."""
    sketch = Sketch()
    for latency in latencies_us:
        sketch.add(latency)
    return ArmSample(
        requests=len(latencies_us), ok=len(latencies_us), latency=sketch.to_dict(), **counts
    )


async def record(store: Store, second: int, *rows: tuple[Kind, str, Any]) -> None:
    """Record as the gateway and control do."""
    await store.write(lambda s: samples.record(s, second, rows), nudge=False)


async def test_each_kind_reads_back_as_it_was_measured(store: Store) -> None:
    """Structs in, the same structs out."""
    given = [
        (Kind.HOST, "box01", HOST),
        (Kind.GPU, "0", GPU),
        (Kind.INSTANCE, "ops-1.0.0", WORKER),
        (Kind.ARM, "support/r1", arm(1000, 2000, busy_us=7)),
        (Kind.GATEWAY, samples.GATEWAY, GatewaySample(held=2, connections=3, refused={"idle": 4})),
    ]
    await record(store, 100, *given)
    async with store.read() as s:
        found = [
            await samples.since(s, 0, Kind.HOST),
            await samples.since(s, 0, Kind.GPU),
            await samples.since(s, 0, Kind.INSTANCE),
            await samples.since(s, 0, Kind.ARM),
            await samples.since(s, 0, Kind.GATEWAY),
        ]
        assert await samples.newest(s, 1_000) == 100
    assert found == [[(100, subject, sample)] for _, subject, sample in given]


async def test_what_comes_after_now_is_left_out(store: Store) -> None:
    """A clock that was set back leaves measurements in its future; who asks says until when."""
    await record(store, 99, (Kind.INSTANCE, "late", WORKER), (Kind.INSTANCE, "here", WORKER))
    await record(store, 100, (Kind.INSTANCE, "here", WORKER))
    await record(store, 7_300, (Kind.INSTANCE, "here", WORKER), (Kind.HOST, "box", HOST))
    async with store.read() as s:
        assert await samples.newest(s, 7_300) == 7_300
        assert await samples.newest(s, 7_299) == 100
        assert await samples.newest(s, 98) is None
        since = await samples.since(s, 99, Kind.INSTANCE, 7_299)
        every = await samples.since(s, 99, Kind.INSTANCE)
    assert [(second, subject) for second, subject, _ in since] == [
        (99, "here"),
        (99, "late"),
        (100, "here"),
    ]
    assert len(every) == 4


async def test_a_second_that_comes_again_is_not_added_to_the_one_before(store: Store) -> None:
    """After the clock went back an hour, each second of an arm is that of its second life."""
    await record(store, 100, (Kind.ARM, "a/r1", arm(1000)))
    await record(store, 3_700, (Kind.ARM, "a/r1", arm(2000)))
    await record(store, 100, (Kind.ARM, "a/r1", arm(3000)))
    async with store.read() as s:
        found = await samples.since(s, 0, Kind.ARM)
    assert found == [(100, "a/r1", arm(3000)), (3_700, "a/r1", arm(2000))]


async def test_a_gpu_that_tells_little_is_kept_so_and_older_rows_are_read(store: Store) -> None:
    """None goes in and comes out; a row from when zeros stood for it is what it was."""
    little = msgspec.structs.replace(GPU, utilisation_percent=None, temperature_c=None)
    await record(store, 7, (Kind.GPU, "0", little))
    old = (
        '{"index":1,"name":"A100","utilisation_percent":0.0,"memory_used":1,"memory_total":2,'
        '"power_mw":0,"power_limit_mw":0,"temperature_c":0,"throttle":[]}'
    )

    async def write(s: AsyncSession) -> None:
        s.add(samples.SampleRow(kind="gpu", second=7, subject="1", body=old))

    await store.write(write)
    async with store.read() as s:
        (_, _, found), (_, _, older) = await samples.since(s, 7, Kind.GPU)
    assert found == little
    assert (older.name, older.power_mw) == ("A100", 0)


async def test_nothing_measured_is_nothing_shown(store: Store) -> None:
    """No zeros are made up."""
    async with store.read() as s:
        assert await samples.newest(s, 1_000) is None
        assert await samples.since(s, 0, Kind.HOST) == []


async def test_a_second_recorded_twice_is_added_for_arms_and_replaced_for_the_rest(
    store: Store,
) -> None:
    """A gateway that is put back within a second had answered others before it died."""
    await record(store, 5, (Kind.ARM, "a/r1", arm(1000)), (Kind.HOST, "box", HOST))
    await record(store, 5, (Kind.ARM, "a/r1", arm(2000, 3000)), (Kind.HOST, "box", HOST))
    async with store.read() as s:
        ((_, _, found),) = await samples.since(s, 0, Kind.ARM)
        assert len(await samples.since(s, 0, Kind.HOST)) == 1
    assert found == samples.together([arm(1000), arm(2000, 3000)]) == arm(1000, 2000, 3000)


def test_no_arms_together_are_an_empty_arm() -> None:
    """A window without requests has zero of them and no latency."""
    assert samples.together([]) == ArmSample()


async def test_an_arm_is_an_arm_sample(store: Store) -> None:
    """A host's figures under an arm's name are a bug, told where it is made."""
    with pytest.raises(TypeError, match="arm a/r1 is a HostSample"):
        await record(store, 5, (Kind.ARM, "a/r1", HOST))


async def test_old_samples_are_forgotten_in_short_steps(store: Store) -> None:
    """Of all kinds, at most so many a step."""
    for second in range(10):
        await record(store, second, (Kind.HOST, "box", HOST), (Kind.GPU, "0", GPU))
    steps = []
    while gone := await store.write(lambda s: samples.prune(s, 8, limit=5), nudge=False):
        steps.append(gone)
    async with store.read() as s:
        left = [
            second
            for second, _, _ in [
                *await samples.since(s, 0, Kind.HOST),
                *await samples.since(s, 0, Kind.GPU),
            ]
        ]
    assert steps == [5, 5, 5, 1]
    assert left == [8, 9, 8, 9]


async def test_the_newest_of_a_week_is_found_by_its_key(store: Store) -> None:
    """Not by looking at all seconds."""

    async def plan(s: AsyncSession, query: str) -> list[str]:
        connection = await s.connection()
        found = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("arm", 5))
        return [str(row.detail) for row in found]

    async with store.read() as s:
        (newest,) = await plan(s, "SELECT max(second) FROM samples WHERE kind = ? AND second <= ?")
        (since,) = await plan(
            s,
            "SELECT second, subject, body FROM samples WHERE kind = ? AND second >= ? "
            "ORDER BY second, subject",
        )
    assert newest == "SEARCH samples USING PRIMARY KEY (kind=? AND second<?)"
    assert since == "SEARCH samples USING PRIMARY KEY (kind=? AND second>?)"


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(["a/r1", "a/r2", "b/r1"]), st.booleans()),
        max_size=30,
    ),
    st.integers(0, 400),
)
async def test_packing_changes_nothing_that_is_read(
    store: Store, done: list[tuple[int, str, bool]], bound: int
) -> None:
    """Whenever minutes are packed between writes: seconds, ends, roll-ups and what is deleted."""

    async def work(s: AsyncSession) -> None:
        for table in (samples.SampleRow, MinuteRow):
            await s.execute(delete(table))
        known: dict[tuple[int, str], ArmSample] = {}
        for second, subject, packs in done:
            new = arm(1_000 + second)
            await samples.record(s, second, [(Kind.ARM, subject, new)])
            again = any(at > second + 60 for at, _ in known)
            before = None if again else known.get((second, subject))
            known[second, subject] = new if before is None else samples.together([before, new])
            while packs and await samples.pack(s, bound, minutes=1):
                pass
        expected = [(*key, known[key]) for key in sorted(known)]
        seconds = [second for second, _, _ in expected]
        assert await samples.since(s, 0, Kind.ARM) == expected
        assert await samples.since(s, bound, Kind.ARM, bound + 90, "a/") == [
            each for each in expected if bound <= each[0] <= bound + 90 and each[1][:2] == "a/"
        ]
        assert await samples.seconds(s, Kind.ARM, 0, bound) == sorted(
            {second for second in seconds if second <= bound}
        )
        assert await samples.newest(s, bound) == max(
            (second for second in seconds if second <= bound), default=None
        )
        assert await rollup_rows.next_second(s, Kind.ARM, bound) == min(
            (second for second in seconds if second >= bound), default=None
        )
        while await samples.prune(s, bound // 60 * 60, limit=3):
            pass
        left = [each for each in expected if each[0] >= bound // 60 * 60]
        assert await samples.since(s, 0, Kind.ARM) == left

    await store.write(work)


async def test_a_packed_minute_takes_a_tenth_of_the_room(store: Store) -> None:
    """Of the host, which is measured every second."""
    for second in range(120):
        await record(store, second, (Kind.HOST, "box", HOST))

    async def work(s: AsyncSession) -> tuple[int, int]:
        plain = [row.body for row in await s.scalars(select(samples.SampleRow))]
        assert not await samples.pack(s, 120)
        packed = [row.body for row in await s.scalars(select(MinuteRow))]
        assert (await s.execute(select(func.count()).select_from(samples.SampleRow))).scalar() == 0
        return sum(map(len, plain)), sum(map(len, packed))

    plain, packed = await store.write(work)
    assert packed * 10 < plain
