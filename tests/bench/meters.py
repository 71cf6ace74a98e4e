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

from storage import measures, rollup_rows, rollups
from storage import store as stores
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.measures import Window
from storage.rollups import Span
from storage.samples import Kind
from storage.store import Store
from storage.tallies import Tally

_BATCH: Final = 50_000
_ARMS: Final = (("support", 1), ("support", 2))
_KEPT_S: Final = 7 * Span.DAY
_COLUMNS: Final = (
    "id, at_us, service, release, worker, endpoint, key_id, tenant, class, synthetic, stream, "
    "prompt_tokens, completion_tokens, queue_us, ttft_us, latency_us, busy_us, outcome, "
    "finish_reason, error_code, seed"
)


def fill_requests(home: Home, count: int, end_us: int, step: float) -> None:
    """Insert the rows as the gateway's columns are, in the order of their end."""
    chance = random.Random(1)
    marks = ", ".join("?" * len(_COLUMNS.split(", ")))
    insert = f"INSERT INTO requests ({_COLUMNS}) VALUES ({marks})"  # noqa: S608 constants
    with contextlib.closing(sqlite3.connect(home.database, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=OFF")
        for first in range(0, count, _BATCH):
            rows = []
            for n in range(first, min(first + _BATCH, count)):
                service, release = _ARMS[n % 2]
                took = int(chance.lognormvariate(13, 0.8))
                rows.append(
                    (f"req_{chance.getrandbits(96):024x}", end_us - int((count - n) * step),
                     service, release, "ops-1.0.0:1", "/v1/chat/completions", 1, "acme",
                     "interactive", 0, 1, 40, 60, 900, took // 4, took, took // 3, "ok", "stop",
                     None, chance.getrandbits(62))
                )  # fmt: skip
            database.execute("BEGIN")
            database.executemany(insert, rows)
            database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def tally(chance: random.Random, count: int) -> Tally:
    """So many requests of an arm."""
    made = Tally(requests=count, ok=count, prompt_tokens=40 * count, completion_tokens=60 * count)
    for _ in range(count):
        took = chance.lognormvariate(13, 0.8)
        made.latency.add(took)
        made.ttft.add(took / 4)
        made.queue.add(900)
        made.inter_token.add(took / 60)
    made.busy_us = int(made.latency.total / 3)
    return made


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
                found = {f"{name}/r{release}": tally(chance, a_minute) for name, release in _ARMS}
                await rollup_rows.replace(s, Kind.ARM, Span.MINUTE, minute, found)
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
    """The seconds of the last week as JSON; how many rows."""
    chance = random.Random(3)
    rate = count / seconds / len(_ARMS)
    rows = []
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        for second in range(end_s - min(_KEPT_S, seconds), end_s):
            for service, release in _ARMS:
                n = int(rate) + (chance.random() < rate % 1)
                if n or second % 4 == 0:
                    body = msgspec.json.encode(tally(chance, n).sample()).decode()
                    rows.append(("arm", second, f"{service}/r{release}", body))
        database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?)", rows)
        database.commit()
    return len(rows)


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


async def main(home: Home, count: int, days: int, rows_wanted: int) -> None:
    """Fill, measure, print."""
    homes.make(home)
    end_s, seconds = clock.now_us() // 1_000_000, days * Span.DAY
    store = await stores.open(home)
    try:
        empty = size(home)
        wanted = min(rows_wanted or count, count)
        fill_requests(home, wanted, end_s * 1_000_000, seconds * 1_000_000 / count)
        requests = size(home)
        rows = fill_seconds(home, count, end_s, seconds)
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
