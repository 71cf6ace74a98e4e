"""`python -m tests.bench.switches`: how long a switch takes, by parts, under load.

A real node, one service, two upstream servers; clients that ask without pause while a person sets
the split from one release to the other and back. The clock of a switch runs from the commit of the
new split, as another process sees it, to the last request that the old release still got. The
commit is taken to be at the last look that did not see it yet, so that the figure errs upwards. A
request counts from its arrival at the gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil
from sqlalchemy import select
from sqlmodel import col

from storage import keys, services
from storage.home import clock
from storage.home.paths import Home
from storage.requests import RequestRow
from tests.engine.node import fickle_upstream, nodes
from tests.engine.node.nodes import BOUND_S, RealNode, opened

CLIENTS: Final = 4
APART_S: Final = 0.5
WARM: Final = 50
USUAL_S: Final = 5.0
SETTLED_US: Final = 3_000_000
"""After which the rows of all requests are in the store."""
_BODY: Final = {
    "model": "support",
    "messages": [{"role": "user", "content": "Which are you?"}],
    "max_tokens": 8,
}
_WATCH: Final = """
import sqlite3, sys, time
store = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
query = "SELECT split_id FROM services WHERE name = 'support'"
known, before = None, time.time_ns()
while True:
    now = time.time_ns()
    split = store.execute(query).fetchall()[0][0]
    if split != known:
        known = split
        print(split, before // 1000, flush=True)
    before = now
    time.sleep(0.0002)
"""
"""Prints each split with the moment of the last look that did not see it."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch, in microseconds.

    `transaction_us` from its beginning to its commit; `old_us` from the commit to the last request
    of the old release, 0 if there was none after it; `new_us` to the first one of the new release,
    None if none came before the next switch.
    """

    transaction_us: int
    old_us: int
    new_us: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; `control_us` is what control computes for a switch, beside the rest."""

    switches: tuple[Switch, ...]
    answers: int
    failed: int
    control_us: int

    @property
    def sentence(self) -> str:
        """The result in a few lines."""
        count, new = len(self.switches), [one.new_us for one in self.switches]
        lines = [
            f"{count} switches, {CLIENTS} clients: {self.answers} answers, {self.failed} failed",
            _line("commit to the last request of the old", [one.old_us for one in self.switches]),
            _line("commit to the first request of the new", [us for us in new if us is not None]),
            _line("the transaction before", [one.transaction_us for one in self.switches]),
            f"processor time of control, beside its usual work: {self.control_us / 1000:.0f} ms",
        ]
        return "\n".join(lines)


def _line(what: str, took_us: Sequence[int]) -> str:
    took = sorted(took_us)
    p95 = took[min(len(took) - 1, len(took) * 95 // 100)]
    return (
        f"{what}: median {statistics.median(took) / 1000:.1f} ms, p95 {p95 / 1000:.1f}, "
        f"max {took[-1] / 1000:.1f}"
    )


class Load:
    """The answers until now; `warm` is set after the first few."""

    def __init__(self) -> None:
        self.answers = self.failed = 0
        self.warm = asyncio.Event()

    def count(self, answered: bool) -> None:
        """Count one more."""
        self.answers += answered
        self.failed += not answered
        if self.answers == WARM:
            self.warm.set()


async def measure(root: Path, *, switches: int) -> Figures:
    """Measure on a node in a home of its own, from its start to its end."""
    node = RealNode(root / "home", PADDOCK_BEAT_S="20")
    node.start()
    try:
        async with (
            fickle_upstream.served("blue ") as blue,
            fickle_upstream.served("green ") as green,
        ):
            for name, server in (("blue", blue), ("green", green)):
                url = f"http://127.0.0.1:{server.port}/v1"
                await node.must("upstreams.add", name, {"url": url})
                await node.must("releases.create", "", {"upstream": {"name": name, "model": "m"}})
            await node.must("services.create", "support", {"release": "r1"})
            await node.must("services.split", "support", {"arms": {"r1": 10_000, "r2": 0}})
            minted = keys.mint()
            key = {"name": "b", "prefix": minted.prefix, "sha256": minted.sha256, "tenant": "b"}
            await node.must("keys.add", "b", key)
            return await _measure(node, minted.secret, switches)
    finally:
        node.end()


async def _measure(node: RealNode, secret: str, switches: int) -> Figures:
    parts = await node.until(nodes.ready("control"))
    control = psutil.Process(parts["control"].pid or 0)
    async with _load(node, secret) as load, _watched(node.home) as commits:
        await load.warm.wait()
        before_us, began_s = _used_us(control), time.monotonic()
        await asyncio.sleep(USUAL_S)
        usual = (_used_us(control) - before_us) / (time.monotonic() - began_s)
        before_us, began_s = _used_us(control), time.monotonic()
        for number in range(switches):
            to, frm = ("r2", "r1") if number % 2 == 0 else ("r1", "r2")
            await node.must("services.split", "support", {"arms": {to: 10_000, frm: 0}})
            await asyncio.sleep(APART_S)
        used_us = _used_us(control) - before_us - usual * (time.monotonic() - began_s)
    return Figures(
        switches=await _found(node, commits, switches),
        answers=load.answers,
        failed=load.failed,
        control_us=int(used_us / switches),
    )


@asynccontextmanager
async def _load(node: RealNode, secret: str) -> AsyncIterator[Load]:
    """Clients that ask one request after the other."""
    load, stop = Load(), asyncio.Event()
    base = f"http://127.0.0.1:{node.environment['PADDOCK_GATEWAY__PORT']}"
    headers = {"authorization": f"Bearer {secret}"}

    async def ask(http: httpx.AsyncClient) -> None:
        while not stop.is_set():
            answer = await http.post("/v1/chat/completions", json=_BODY)
            load.count(answer.status_code == httpx.codes.OK)

    async with (
        httpx.AsyncClient(base_url=base, headers=headers, timeout=BOUND_S) as http,
        asyncio.TaskGroup() as clients,
    ):
        for _ in range(CLIENTS):
            clients.create_task(ask(http))
        try:
            yield load
        finally:
            stop.set()


@asynccontextmanager
async def _watched(home: Home) -> AsyncIterator[dict[int, int]]:
    """Another process watches the store; the moment of each commit by the id of its split."""
    watcher = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WATCH, str(home.database), stdout=subprocess.PIPE
    )
    assert watcher.stdout is not None
    commits: dict[int, int] = {}

    async def read(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            split, at_us = map(int, line.split())
            commits[split] = at_us

    reading = asyncio.create_task(read(watcher.stdout))
    try:
        yield commits
    finally:
        watcher.terminate()
        await watcher.wait()
        await reading


async def _found(node: RealNode, commits: dict[int, int], count: int) -> tuple[Switch, ...]:
    """The switches, once the requests until now are in the store.

    Of each the requests until halfway to the next: one that arrives just before a commit may be
    routed just after it.
    """
    until_us = clock.now_us()
    query = select(col(RequestRow.at_us), col(RequestRow.release)).order_by(col(RequestRow.at_us))
    async with asyncio.timeout(BOUND_S), opened(node.home) as store:
        while clock.now_us() < until_us + SETTLED_US:
            await store.wait_changed(0.5)
        async with store.read() as s:
            splits = (await services.history(s, "support", count))[::-1]
            rows = [(at_us, release) for at_us, release in await s.execute(query)]
    begins = [commits[split.id] for split in splits]
    found = []
    for split, begin_us, next_us in zip(splits, begins, [*begins[1:], until_us], strict=True):
        (to,) = (arm.release for arm in split.arms if arm.weight_bp)
        after = [
            (at_us - begin_us, release)
            for at_us, release in rows
            if begin_us <= at_us < (begin_us + next_us) // 2
        ]
        old = [took for took, release in after if release != to]
        new = [took for took, release in after if release == to]
        found.append(
            Switch(begin_us - split.set_at_us, max(old, default=0), min(new, default=None))
        )
    return tuple(found)


def _used_us(process: psutil.Process) -> int:
    used = process.cpu_times()
    return int((used.user + used.system) * 1e6)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.switches", description=__doc__)
    parser.add_argument("--switches", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        print(asyncio.run(measure(Path(root), switches=given.switches)).sentence)


if __name__ == "__main__":
    main()
