"""What a recorded request adds to the store, by table: recorded as a gateway and control do it.

`python -m tests.bench.growth [--requests N] [--rate N]` feeds the recorder with synthetic requests
of two arms and five tenants, one in ten of an A/B test, second by second as fast as it can, with
the samples of their arms, tenants and instances, of the host and of the gateway, and rolls up and
packs by the minute as control does. The file is measured once it has no log beside it. No request
has a text. Seconds are kept for a week on a box: here all of them are, so that for a box that is
older the figure is an upper bound. Prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from engine.control.retention import Keeper
from engine.execution.recorder import Recorder
from engine.metering.windows import Windows
from storage import store as stores
from storage.home import clock, config
from storage.home import paths as homes
from storage.home.paths import Home
from storage.requests import Outcome
from storage.samples import Kind
from tests.bench import meters, monitor

_LIMIT: Final = 200
"""Bytes that a request may take, with its share of samples and roll-ups."""
_GAPS: Final = 59
_LIVE: Final = {("support", 1), ("support", 2)}


async def record(home: Home, requests: int, rate: int) -> int:
    """Record requests at an even rate, in the past up to now; returns how many."""
    seconds = requests // rate
    chance = random.Random(1)
    store = await stores.open(home)
    recorder, windows = Recorder(store), Windows()
    now = [clock.now_us() // 1_000_000 - seconds]
    keeper = Keeper(store, config.Retention(), now_us=lambda: now[0] * 1_000_000)
    try:
        for tick in range(seconds):
            second = now[0]
            for number in range(rate):
                ended = monitor.request(chance, second, chance.randrange(1_000))
                if chance.random() < 0.02:
                    ended = msgspec.structs.replace(ended, outcome=Outcome.CANCELLED)
                if number % 10 == 0:
                    ended = msgspec.structs.replace(
                        ended, ab_test=1, unit=f"{chance.getrandbits(64):016x}"
                    )
                windows.ended(ended)
                gaps = [int(chance.lognormvariate(9.4, 0.15)) for _ in range(_GAPS)]
                windows.arm("support", ended.release or 0).gaps += gaps
                recorder.record(ended)
            for row in windows.close(second, _LIVE):
                recorder.sample(row)
            for kind, subject, sample in meters.box(chance):
                recorder.sample((second, Kind(kind), subject, sample))
            await recorder.flush()
            if tick % 60 == 0:
                await keeper.roll()
            now[0] += 1
        return seconds * rate
    finally:
        await store.close()


def tables(home: Home) -> Counter[str]:
    """Bytes by table, their indices included."""
    found: Counter[str] = Counter()
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = (
            "SELECT coalesce(t.tbl_name, s.name), sum(s.pgsize) FROM dbstat s "
            "LEFT JOIN sqlite_schema t ON t.name = s.name GROUP BY 1"
        )
        for name, size in database.execute(query):
            found[name] = size
    return found


async def main(home: Home, requests: int, rate: int) -> bool:
    """Fill, measure, print; whether a request takes no more than it may."""
    homes.make(home)
    await (await stores.open(home)).close()
    empty, before = tables(home), home.database.stat().st_size
    count = await record(home, requests, rate)
    grown, file = tables(home), home.database.stat().st_size - before
    print(f"{count:,} requests at {rate} a second")
    for name, size in (grown - empty).most_common():
        if size >= count:
            print(f"{name:22} {size / count:7.1f} bytes a request")
    print(f"{'the file':22} {file / count:7.1f} bytes a request; at most {_LIMIT} are allowed")
    return file <= _LIMIT * count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        within = asyncio.run(main(Home(Path(folder) / "home"), given.requests, given.rate))
    sys.exit(0 if within else 1)
