"""Roll-ups: the same figures as from the seconds, over any range, whenever a process is killed."""

from __future__ import annotations

import contextlib
import random
from itertools import accumulate

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from storage import rollup_rows, rollups, samples, tallies
from storage.rollup_rows import RollupRow
from storage.rollups import Span
from storage.samples import Kind
from storage.store import Session, Store
from storage.tallies import Tally

DAY = 20_000
BEGIN = DAY * Span.DAY + 23 * Span.HOUR + 57 * 60  # three minutes before an hour and a day end
END = BEGIN + 6 * 60


def tally(second: int) -> Tally:
    """Some requests of a second, the same for every call."""
    chance = random.Random(second)
    made = Tally()
    for _ in range(chance.randrange(1, 4)):
        made.requests += 1
        made.ok += 1
        made.latency.add(chance.lognormvariate(13, 1))
    made.errors["boom"] += second % 3
    return made


async def write(s: Session, second: int) -> None:
    """The seconds of two arms and a tenant, as the gateway writes them."""
    rows = [(Kind.ARM, f"support/r{n}", tally(second * n).sample()) for n in (1, 2)]
    rows.append((Kind.TENANT, "support/acme", tally(second).sample()))
    await samples.record(s, second, rows)
    await rollups.amend(s, [second])


async def fill(store: Store, seconds: range) -> None:
    """Measure so long."""

    async def work(s: Session) -> None:
        for second in seconds:
            await write(s, second)

    await store.write(work)


async def roll(store: Store, now_s: int, minutes: int = 15) -> int:
    """Roll up until nothing is left; how many transactions that took."""
    runs = 1
    while await store.write(lambda s: rollups.roll(s, now_s, minutes)):
        runs += 1
    return runs


def exact(subject: int, begin: int, end: int) -> Tally:
    """The sum of the seconds of an arm; both ends are in it."""
    inside = range(max(begin, BEGIN), min(end, END - 1) + 1)
    return tallies.total(tally(second * subject) for second in inside)


async def test_any_range_is_the_sum_of_its_seconds(store: Store) -> None:
    """Across a minute, an hour and a day, rolled up or not, by arm, service and tenant."""
    await fill(store, range(BEGIN, END))
    assert await roll(store, END + rollups.LAG_S - 30, minutes=2) == 3
    ranges = [(BEGIN, END), (BEGIN + 7, END - 7), (0, 2**40), (BEGIN - 90, BEGIN + 59)]
    ranges += [(BEGIN + 61, BEGIN + 61), (END, END + 9)]
    async with store.read() as s:
        assert (await rollups.mark(s)).until_s == END - 60
        days = await rollup_rows.begins(s, Kind.ARM, Span.DAY, 0, 2**40)
        assert days == [DAY * Span.DAY]
        for begin, end in ranges:
            arms = await rollups.between(s, Kind.ARM, begin, end, "support/")
            tenants = await rollups.between(s, Kind.TENANT, begin, end)
            assert arms.get("support/r1", Tally()) == exact(1, begin, end)
            assert arms.get("support/r2", Tally()) == exact(2, begin, end)
            assert tenants.get("support/acme", Tally()) == exact(1, begin, end)
        assert await rollups.between(s, Kind.ARM, 0, 2**40, "other/") == {}


async def test_rolling_up_again_changes_nothing(store: Store) -> None:
    """A process that was killed before its commit has done nothing; the next one does it all."""
    await fill(store, range(BEGIN, END))
    await roll(store, END + rollups.LAG_S)

    class Killed(Exception):
        """The process ends before the transaction does."""

    async def half(s: Session) -> None:
        await rollup_rows.set_mark(s, until_s=BEGIN)
        await rollups.roll(s, END + rollups.LAG_S, 1)
        raise Killed

    async with store.read() as s:
        before = await rollups.between(s, Kind.ARM, 0, END - 1)
    for _ in range(2):
        with contextlib.suppress(Killed):
            await store.write(half)
        await store.write(lambda s: rollup_rows.set_mark(s, until_s=BEGIN))
        await roll(store, END + rollups.LAG_S)
        async with store.read() as s:
            assert await rollups.between(s, Kind.ARM, 0, END - 1) == before


async def test_a_second_that_is_written_late_is_in_its_roll_ups(store: Store) -> None:
    """A gateway whose store was locked for minutes writes seconds that were rolled up without."""
    await fill(store, range(BEGIN, END, 2))
    await roll(store, END + rollups.LAG_S)
    await fill(store, range(BEGIN + 1, END, 2))
    async with store.read() as s:
        found = await rollups.between(s, Kind.ARM, 0, END - 1)
    assert found["support/r1"] == exact(1, BEGIN, END - 1)


async def test_what_is_left_of_deleted_seconds_gives_the_edges(store: Store) -> None:
    """Whole minutes where the seconds are gone, whole hours where the minutes are."""
    await fill(store, range(BEGIN, END))
    await roll(store, END + rollups.LAG_S)

    async def forget(s: Session, minutes: bool) -> None:
        if minutes:
            await rollups.prune(s, Span.MINUTE, END)
        await samples.prune(s, await rollups.seconds_gone(s, BEGIN + 150))

    await store.write(lambda s: forget(s, minutes=False))
    async with store.read() as s:
        found = await rollups.between(s, Kind.ARM, BEGIN + 30, END - 1)
        assert found["support/r1"] == exact(1, BEGIN, END - 1)
        assert (await rollups.mark(s)).seconds_from_s == BEGIN + 120
    await store.write(lambda s: forget(s, minutes=True))
    async with store.read() as s:
        left = await rollup_rows.begins(s, Kind.ARM, Span.MINUTE, 0, END)
        assert left == [BEGIN + each for each in (180, 240, 300)]
        found = await rollups.between(s, Kind.ARM, BEGIN + 30, BEGIN + 69)
        assert found["support/r1"] == exact(1, BEGIN, BEGIN + 179)


async def test_a_clock_that_goes_back_costs_nothing(store: Store) -> None:
    """By a minute, its seconds are rolled up as they come again; by years, all stays as it is."""
    await fill(store, range(BEGIN, END))
    await roll(store, END + rollups.LAG_S)
    await roll(store, 5)
    async with store.read() as s:
        assert (await rollups.mark(s)).until_s == 0  # no second is deleted: all are still there
    await roll(store, END + rollups.LAG_S)
    await store.write(lambda s: rollups.seconds_gone(s, BEGIN + 60))
    await roll(store, 5)
    await roll(store, END - 1)
    async with store.read() as s:
        assert (await rollups.mark(s)).until_s == END - 2 * 60
        found = await rollups.between(s, Kind.ARM, 0, END - 1)
    assert found["support/r1"] == exact(1, BEGIN, END - 1)


@given(
    begin=st.integers(0, 3 * Span.DAY),
    length=st.integers(0, 3 * Span.DAY),
    until_s=st.integers(0, 4 * Span.DAY).map(Span.MINUTE.begin),
)
def test_a_range_is_cut_into_few_pieces_without_gap_or_overlap(
    begin: int, length: int, until_s: int
) -> None:
    """Each of whole spans that are rolled up, in their order."""
    end = begin + length
    at = begin
    for span, first, last in rollups.pieces(begin, end, until_s):
        assert at == first < last
        assert first % span == last % span == 0
        assert span is Span.SECOND or last <= until_s
        at = last
    assert at == end or length == 0
    before = list(rollups.pieces(begin, min(end, until_s), until_s))
    assert len(before) <= 7
    assert sum((last - first) // span for span, first, last in before) <= 3 + 2 * (59 + 59 + 23)


async def test_roll_ups_of_earlier_versions_are_read(store: Store) -> None:
    """They are not compressed, and count by bucket."""
    made = tally(1)
    packed = tallies.pack(made)
    sketch = packed.sketches["latency"]
    assert isinstance(sketch.buckets, list)
    by_bucket = dict(zip(accumulate(sketch.buckets[::2]), sketch.buckets[1::2], strict=True))
    earlier = msgspec.structs.replace(
        packed, sketches={"latency": msgspec.structs.replace(sketch, buckets=by_bucket)}
    )
    row = {"kind": "arm", "span_s": 60, "begin_s": 0, "subject": "support/r1",
           "body": msgspec.msgpack.encode(earlier)}  # fmt: skip

    async def work(s: Session) -> None:
        await s.execute(insert(RollupRow), [row, row | {"begin_s": 60}])

    await store.write(work)
    async with store.read() as s:
        found: dict[str, Tally] = {}
        await rollup_rows.add(s, found, Kind.ARM, Span.MINUTE, 0, 120)
    assert found == {"support/r1": tally(1).add(made)}
