"""Ten million requests in a store: how long percentiles take, and how many bytes a request costs.

`python -m tests.bench.meters [--requests N] [--days N] [--rows N] [--home DIR]` fills a home in
bulk with requests at an even rate, their indices, the seconds of the last week and the roll-ups of
all days, as a box would have them, then reads ranges through `storage.measures`. With `--rows` only
the last so many requests have a row, which is quicker and enough to tell how large one is. Prints a
table.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import random
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import measures, request_records, request_writes, rollup_rows, rollups, samples
from storage import store as stores
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.measures import Window
from storage.requests import Outcome, Request
from storage.rollups import Span
from storage.samples import ArmSample, GatewaySample, HostSample, InstanceSample, Kind, Sample
from storage.store import Store, at_once
from storage.tallies import Tally

_BATCH: Final = 50_000
_ARMS: Final = (("support", 1), ("support", 2))
_KEYS: Final = 25
_TENANTS: Final = 5
_INSERT: Final = (
    "INSERT INTO request_rows (id, at_us, facet, prompt_tokens, completion_tokens, queue_us, "
    "ttft_us, latency_us, busy_us, seed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_BLOCKS: Final = (
    "INSERT INTO request_blocks SELECT number / 256, min(at_us), max(at_us) FROM request_rows "
    "GROUP BY 1"
)
_BLOCK_FACETS: Final = (
    "INSERT INTO request_block_facets SELECT DISTINCT facet, number / 256 FROM request_rows"
)
_USAGE: Final = """
INSERT INTO usage
  SELECT (at_us + latency_us) / 900000000 * 900, service, coalesce(release, 0), tenant, key_id,
         rtrim(rtrim(worker, '0123456789'), ':'), count(*), sum(prompt_tokens), 0,
         sum(completion_tokens), sum(busy_us)
  FROM requests GROUP BY 1, 2, 3, 4, 5, 6
"""
_KEPT_S: Final = 7 * Span.DAY


async def fill_requests(store: Store, count: int, end_us: int, step: float) -> None:
    """Insert the rows of a gateway's requests in bulk, in the order of their end, and their usage.

    One in fifty did not end well; one in five hundred is of a service that is hardly asked.
    """
    chance = random.Random(1)
    facets = await store.write(_facets)
    random_bits, lognormal, uniform = chance.getrandbits, chance.lognormvariate, chance.random
    with contextlib.closing(sqlite3.connect(store.home.database, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=OFF")
        for first in range(0, count, _BATCH):
            rows = []
            for n in range(first, min(first + _BATCH, count)):
                took = int(lognormal(13, 0.8))
                share = uniform()
                of = facets["rare" if n % 500 == 0 else "trouble" if share < 0.02 else "ok"]
                rows.append(
                    (random_bits(96).to_bytes(12, "big"), end_us - int((count - n) * step) - took,
                     of[int(share * 1e6) % len(of)], int(share * 3_000), int(uniform() * 500),
                     900, took // 4, took, took // 3, random_bits(62))
                )  # fmt: skip
            database.execute("BEGIN")
            database.executemany(_INSERT, rows)
            database.execute("COMMIT")
        for statement in (_BLOCKS, _BLOCK_FACETS, _USAGE):
            database.execute(statement)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _facets(s: AsyncSession) -> dict[str, list[int]]:
    """The numbers of the facets that there are, by how often they come."""
    made: dict[str, list[Request]] = {"ok": [], "trouble": [], "rare": []}
    for key in range(_KEYS):
        for number, (service, release) in enumerate((*_ARMS, ("rare", 9))):
            for outcome in Outcome:
                for stream in (False, True):
                    kind = "rare" if service == "rare" else "ok" if outcome == "ok" else "trouble"
                    made[kind].append(
                        Request(
                            id="", at_us=0, service=service, release=release, key_id=key,
                            worker=f"ops-1.0.{release}:{1 + number % 2}", stream=stream,
                            endpoint="/v1/chat/completions", tenant=f"tenant-{key % _TENANTS}",
                            outcome=outcome, finish_reason="stop" if outcome == "ok" else None,
                            error_code=None if outcome == "ok" else "worker_lost",
                        )
                    )  # fmt: skip
    facets = {kind: [request_records.facet(each) for each in of] for kind, of in made.items()}
    wanted = {facet for of in facets.values() for facet in of}
    numbers = await at_once(
        s, lambda cursor: {each: request_writes.numbered(cursor, each) for each in wanted}
    )
    return {kind: [numbers[each] for each in of] for kind, of in facets.items()}


def tally(chance: random.Random, count: int) -> Tally:
    """So many requests of an arm."""
    made = Tally(requests=count, ok=count, prompt_tokens=40 * count, completion_tokens=60 * count)
    for _ in range(count):
        took = int(chance.lognormvariate(13, 0.8))
        made.latency.add(took)
        made.ttft.add(took // 4)
        made.queue.add(chance.randrange(200, 2_000))
        made.inter_token.add_all([int(chance.lognormvariate(9.4, 0.15)) for _ in range(60)])
    made.busy_us = int(made.latency.total / 3)
    return made


@functools.cache
def _pool(count: int) -> tuple[Tally, ...]:
    """Tallies of so many requests, to draw from: making one for each minute takes an hour."""
    chance = random.Random(count)
    return tuple(tally(chance, count) for _ in range(max(2_000 // max(count, 1), 40)))


@functools.cache
def _bodies(count: int) -> tuple[str, ...]:
    return tuple(_json(each.sample()) for each in _pool(count))


async def fill_rollups(store: Store, count: int, end_s: int, seconds: int) -> None:
    """The rows of seconds of the last week, and of minutes, hours and days of all the time."""
    chance = random.Random(2)
    a_minute = max(round(count / seconds * 60 / len(_ARMS)), 1)
    first = Span.DAY.begin(end_s - seconds)
    until = Span.MINUTE.begin(end_s - rollups.LAG_S)
    hours: dict[tuple[str, int], Tally] = {}
    for hour in range(first, until, Span.HOUR):

        async def work(s: AsyncSession, hour: int = hour) -> None:
            for minute in range(hour, min(hour + Span.HOUR, until), Span.MINUTE):
                found = {
                    f"{name}/r{release}": chance.choice(_pool(a_minute)) for name, release in _ARMS
                }
                await rollup_rows.replace(s, Kind.ARM, Span.MINUTE, minute, found)
                shares = [chance.choice(_pool(a_minute * 2 // _TENANTS)) for _ in range(_TENANTS)]
                tenants = {f"support/tenant-{n}": each for n, each in enumerate(shares)}
                await rollup_rows.replace(s, Kind.TENANT, Span.MINUTE, minute, tenants)
                for subject, each in found.items():
                    hours.setdefault((subject, hour), Tally()).add(each)
            own = {subject: each for (subject, at), each in hours.items() if at == hour}
            await rollup_rows.replace(s, Kind.ARM, Span.HOUR, hour, own)

        await store.write(work, nudge=False)
    for day in range(first, until - Span.DAY, Span.DAY):
        inside: dict[str, Tally] = {}
        for (subject, at), each in hours.items():
            if day <= at < day + Span.DAY:
                inside.setdefault(subject, Tally()).add(each)
        await store.write(functools.partial(_replace_day, day=day, found=inside))
    await store.write(lambda s: rollup_rows.set_mark(s, until_s=until))


async def _replace_day(s: AsyncSession, *, day: int, found: dict[str, Tally]) -> None:
    await rollup_rows.replace(s, Kind.ARM, Span.DAY, day, found)


def fill_seconds(home: Home, count: int, end_s: int, seconds: int) -> int:
    """The seconds of the last week as JSON, a day packed after the other; how many rows."""
    chance = random.Random(3)
    rate = count / seconds
    every = 0
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        for second in range(end_s - min(_KEPT_S, seconds), end_s):
            rows: list[tuple[str, int, str, str]] = []
            subjects = [("arm", f"{name}/r{release}") for name, release in _ARMS]
            subjects += [("tenant", f"support/tenant-{n}") for n in range(_TENANTS)]
            for kind, subject in subjects:
                share = rate / (len(_ARMS) if kind == "arm" else _TENANTS)
                n = int(share) + (chance.random() < share % 1)
                if n or (kind == "arm" and second % 4 == 0):
                    rows.append((kind, second, subject, chance.choice(_bodies(n))))
            rows += [(kind, second, subject, _json(each)) for kind, subject, each in box(chance)]
            database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?)", rows)
            every += len(rows)
        database.commit()
    return every


def box(chance: random.Random) -> list[tuple[str, str, Sample]]:
    """What is measured of the host, the gateway and two instances in a second."""
    host = HostSample(
        cpu_percent=round(chance.random() * 100, 1), cores=16, load1=round(chance.random() * 9, 2),
        memory_used=chance.randrange(2**36), memory_total=2**37, disk_used=2**39, disk_total=2**40,
    )  # fmt: skip
    busy = chance.randrange(1_000_000)
    worker = InstanceSample(
        running=chance.randrange(8), waiting=chance.randrange(3), max_running=8, sequences=8,
        kv_used_tokens=chance.randrange(32_768), kv_total_tokens=32_768, steps=60,
        prefill_tokens=chance.randrange(900), decode_tokens=chance.randrange(400), busy_us=busy,
        idle_us=1_000_000 - busy, batch_max=8,
    )  # fmt: skip
    gateway = GatewaySample(held=0, connections=chance.randrange(64))
    return [("host", "box", host), ("gateway", "gateway", gateway),
            ("instance", "ops-1.0.1:1", worker), ("instance", "ops-1.0.2:2", worker)]  # fmt: skip


def _json(sample: msgspec.Struct) -> str:
    fields = msgspec.structs.asdict(sample)
    kept = fields if not isinstance(sample, ArmSample) else {k: v for k, v in fields.items() if v}
    return msgspec.json.encode(kept).decode()


async def read(store: Store, end_s: int) -> list[tuple[str, float, float | None]]:
    """(range, best of five in ms, p95 in ms) of ranges from a minute to all of it."""
    found = []
    for name, seconds in (("5 min", 300), ("1 h", 3_600), ("25 h", 90_000), ("8 d", 8 * 86_400),
                          ("29 d", 29 * 86_400), ("all", 400 * 86_400)):  # fmt: skip
        best, p95 = float("inf"), None
        for _ in range(5):
            begun = time.perf_counter()
            async with store.read() as s:
                window = Window.last(seconds + 31, end_s - 17)
                p95 = measures.latency(await measures.traffic(s, window, service="support"), 0.95)
            best = min(best, time.perf_counter() - begun)
        found.append((name, best * 1e3, None if p95 is None else p95 / 1e3))
    return found


def size(home: Home) -> int:
    """Bytes of the store's file."""
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        (page,) = database.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page)


def vacuum(home: Home) -> None:
    """Give back what a box would use again."""
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        database.execute("VACUUM")


async def main(home: Home, count: int, days: int, rows_wanted: int) -> None:
    """Fill, measure, print."""
    homes.make(home)
    end_s, seconds = clock.now_us() // 1_000_000, days * Span.DAY
    store = await stores.open(home)
    try:
        empty = size(home)
        wanted = min(rows_wanted or count, count)
        begun = time.perf_counter(), time.process_time()
        await fill_requests(store, wanted, end_s * 1_000_000, seconds * 1_000_000 / count)
        took, spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
        print(f"recorded {wanted:,} in {took:.0f} s, {spent / wanted * 1e6:.0f} µs of a core each")
        requests = size(home)
        rows = fill_seconds(home, count, end_s, seconds)
        grown = size(home) - requests
        print(f"{'seconds, unpacked':18} {grown / count:21.1f} bytes a request")
        while await store.write(lambda s: samples.pack(s, end_s - 1_200, 60), nudge=False):
            pass
        vacuum(home)
        week = size(home)
        await fill_rollups(store, count, end_s, seconds)
        whole = size(home)
        print(f"{count:,} requests in {days} days, {count / seconds:.2f} per second")
        parts = (("rows", requests - empty, wanted), ("seconds of a week", week - requests, count),
                 ("roll-ups", whole - week, count))  # fmt: skip
        for name, grown, of in parts:
            print(f"{name:18} {grown / 2**20:9.1f} MiB {grown / of:7.1f} bytes a request")
        print(f"{'all':18} {sum(grown / of for _, grown, of in parts):21.1f} bytes a request")
        print(f"({rows:,} seconds)")
        for name, took_ms, p95 in await read(store, end_s):
            print(f"p95 over {name:6} {took_ms:7.1f} ms   {p95}")
    finally:
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Home(given.home or Path(folder) / "home")
        asyncio.run(main(place, given.requests, given.days, given.rows))
