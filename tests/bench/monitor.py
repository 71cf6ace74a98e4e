"""What measuring costs at 100 requests a second: processor time of each part, in % of one core.

`python -m tests.bench.monitor [--seconds N]` feeds the windows, the journal, the recorder and the
budgets of a gateway with synthetic requests of two arms and five tenants, second by second as fast
as it can, and runs what control does in that time: samples of the host, roll-ups, box usage.
Prints a table; the total is to stay under 2 %.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.control.retention import Keeper
from engine.execution import journal as journals
from engine.execution.recorder import Recorder
from engine.metering.budgets import Budgets
from engine.metering.gpu import Gpus
from engine.metering.host import Host
from engine.metering.telemetry import Telemetry
from engine.metering.windows import Windows
from storage import store as stores
from storage.home import clock, config
from storage.home import paths as homes
from storage.home.paths import Home
from storage.requests import Outcome, Request

RATE: Final = 100
_spent: Counter[str] = Counter()


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Charge the processor time of a block to a part."""
    begun = time.process_time()
    yield
    _spent[name] += time.process_time() - begun  # type: ignore[assignment]


def request(chance: random.Random, second: int, number: int) -> Request:
    """One of two arms and five tenants."""
    took = int(chance.lognormvariate(13, 0.8))
    return Request(
        id=f"req_{chance.getrandbits(96):024x}", at_us=second * 1_000_000 - took, latency_us=took,
        service="support", release=1 + number % 2, worker="ops-1.0.0:1", tenant=f"t{number % 5}",
        endpoint="/v1/chat/completions", key_id=number % 5, prompt_tokens=40, completion_tokens=60,
        queue_us=900, ttft_us=took // 4, busy_us=took // 3, outcome=Outcome.OK,
        seed=chance.getrandbits(62),
    )  # fmt: skip


async def main(home: Home, seconds: int) -> None:
    """Measure and print."""
    homes.make(home)
    store = await stores.open(home)
    chance = random.Random(1)
    now = [clock.now_us() // 1_000_000 * 1_000_000]
    journal, _ = journals.open(home.journal, store.id)
    recorder, windows = Recorder(store, journal), Windows()
    budgets = Budgets(store, recorder, config.Price(), now_us=lambda: now[0])
    keeper = Keeper(store, config.Retention(), now_us=lambda: now[0])
    gpus = Gpus(monotonic_us=lambda: now[0])
    telemetry = Telemetry(store, Host(home.root), gpus, now_us=lambda: now[0])
    live = {("support", 1), ("support", 2)}
    try:
        for tick in range(seconds):
            second = now[0] // 1_000_000
            ended = [request(chance, second, number) for number in range(RATE)]
            with part("gateway: windows, budgets"):
                for each in ended:
                    windows.ended(each)
                    budgets.ended(each)
                    windows.arm("support", each.release or 0).gaps += [9_000] * 60
                for row in windows.close(second, live):
                    recorder.sample(row)
                await budgets.refresh()
            with part("gateway: the journal"):
                for each in ended:
                    recorder.begun(each)
                    recorder.record(each)
            with part("gateway: rows of requests, samples and usage"):
                await recorder.flush()
            with part("control: the host"):
                await telemetry.once()
            if tick % 60 == 0:
                with part("control: roll-ups, box usage"):
                    await keeper.roll()
            now[0] += 1_000_000
    finally:
        journal.close()
        await store.close()
    for name, spent in _spent.items():
        print(f"{name:46} {spent / seconds:7.2%}")
    print(f"{'all':46} {sum(_spent.values()) / seconds:7.2%} of a core at {RATE} requests/s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Home(Path(folder) / "home"), parser.parse_args().seconds))
