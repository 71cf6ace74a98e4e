"""How long each place and each list takes to open on a large store: wall and processor time.

`python -m tests.bench.places HOME` reads the home that `tests.bench.meters --home HOME` filled, as
the screen reads it when a place is opened: first by a reader that has seen nothing, then again.
Every place is read as of now and as of ten minutes, two days and twenty days ago; the lists of
requests by filters that hit often, seldom and never; p95 of ranges. Prints milliseconds; writes
nothing. Figures are of this machine as loaded as it is: the second column is processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from app import reader
from app.figures import past_reading, reading
from app.snapshot import Query
from storage import errors, measures, requests
from storage import store as stores
from storage.home.paths import Home
from storage.measures import Window
from storage.requests import Outcome
from storage.runtime import collector
from storage.store import Session, Store

_SECOND_US: Final = 1_000_000
_BACK_S: Final = (600, 2 * 86_400, 20 * 86_400)
_RANGES_S: Final = (300, 3_600, 90_000, 8 * 86_400, 29 * 86_400)
_FILTERS: Final = ("rare", "worker_lost", "r9", "abc1", "nothing-has-this")
_INSIDE: Final = frozenset({"rollout", "request", "prompt", "replay", "job", "incident", "run"})


async def timed(name: str, work: Callable[[], Awaitable[object]]) -> None:
    """Print the wall and the processor time of a read, twice."""
    said = []
    for _ in range(2):
        begun, spent = time.perf_counter(), time.process_time()
        try:
            await work()
        except errors.StorageError as error:
            said.append(str(error)[:60])
            continue
        wall, core = time.perf_counter() - begun, time.process_time() - spent
        said.append(f"{wall * 1e3:6.0f} {core * 1e3:6.0f}")
    print(f"{name:40} {'   '.join(said)}", flush=True)


async def places(home: Home, store: Store, end_us: int) -> None:
    """Each place by a reader of its own, as a new terminal opens it."""
    looks = [Query(place=name) for name in reading.PARTS if name not in _INSIDE]
    looks += [Query(place="requests", filter=each) for each in _FILTERS]
    looks += [
        Query(place=name, at_us=end_us - back_s * _SECOND_US)
        for back_s in _BACK_S
        for name in past_reading.PARTS
        if name not in _INSIDE
    ]
    for query in looks:
        source = reader.Reader(home, store, now_us=lambda: end_us)
        await source.ask()
        ago = "" if query.at_us is None else f" {(end_us - query.at_us) // 3_600_000_000} h ago"
        name = f"{query.place}{f' /{query.filter}' if query.filter else ''}{ago}"
        await timed(name, lambda source=source, query=query: source.read(query))  # type: ignore[misc]
        await source.close()


async def lists(store: Store, end_us: int) -> None:
    """Requests by filters, and percentiles."""

    def read(work: Callable[[Session], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        async def once() -> object:
            async with store.read() as s:
                return await work(s)

        return once

    failed, long_ago = Outcome.FAILED, end_us - 20 * 86_400 * _SECOND_US
    await timed("requests of a rare service", read(lambda s: requests.tail(s, service="rare")))
    await timed("requests that failed", read(lambda s: requests.tail(s, outcome=failed)))
    await timed(
        "both", read(lambda s: requests.tail(s, service="rare", outcome=failed))
    )  # fmt: skip
    await timed("none", read(lambda s: requests.tail(s, service="nobody")))
    await timed("20 days ago", read(lambda s: requests.tail(s, service="rare", until_us=long_ago)))
    await timed(
        "lost on a deployment",
        read(lambda s: requests.lost_on(s, "ops-1.0.1", end_us - 3_600 * _SECOND_US)),
    )
    end_s = end_us // _SECOND_US - 17
    for seconds in _RANGES_S:
        window = Window.last(seconds + 31, end_s)
        for tenant in (None, "tenant-1"):
            await timed(
                f"p95 over {seconds} s{'' if tenant is None else ' of a tenant'}",
                read(
                    lambda s, window=window, tenant=tenant: measures.traffic(  # type: ignore[misc]
                        s, window, service="support", tenant=tenant
                    )
                ),
            )


async def main(home: Home) -> None:
    """Measure and print, with the libraries made ready as the screen's own reader has them."""
    with collector.paused():
        stores.prepare()
    store = await stores.open(home, readonly=True)
    try:
        async with store.read() as s:
            (newest,) = await requests.tail(s, 1)
        end_us = newest.at_us + newest.latency_us
        print(f"{'ms: wall, processor; first and second':40}")
        await places(home, store, end_us)
        await lists(store, end_us)
    finally:
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    asyncio.run(main(Home(parser.parse_args().home)))
