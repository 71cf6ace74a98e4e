"""`python -m tests.acceptance.mixed_load --minutes 60`: what a busy box holds after an hour.

Everything at once: streams and whole answers, chats and texts on a base and its adapter, several
choices, log-probabilities, clients that disconnect, bodies that are refused, a wrong key, feedback,
splits and knobs that change. Once every ten seconds it notes memory, open files and threads of each
process, and prints them for each tenth of the time, with the growth from the second tenth to the
last. Exit 1 if a process grew by more than `GROWTH`, or an answer was cut.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from storage.control_socket import client as control_socket
from storage.home.paths import Home
from tests.acceptance.attacks.attack import Target, head, open_connection
from tests.acceptance.attacks.box import attacked

EVERY_S: Final = 10.0
TENTHS: Final = 10
CLIENTS: Final = 10
GROWTH: Final = {"memory MB": 16.0, "files": 8.0, "threads": 2.0}
PROMPT: Final = "Order 214 travels with Pelican. Order 214 arrives on Monday. When does it arrive?"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a process holds."""

    memory_mb: float
    files: float
    threads: float


class Load:
    """The clients; `counts` is how their requests ended, `cut` the streams that broke off."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{target.port}",
            headers={"authorization": f"Bearer {target.key}"},
            timeout=60,
        )
        self._chance = random.Random(11)
        self.counts: Counter[str] = Counter()
        self.cut: list[str] = []

    async def run(self) -> None:
        """Ask until cancelled."""
        kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            self._stream, self._stream, self._whole, self._whole, self._disconnect, self._refused,
            self._wrong_key, self._feedback,
        )  # fmt: skip

        async def one() -> None:
            while True:
                try:
                    await self._chance.choice(kinds)()
                except httpx.HTTPError as error:
                    self.cut.append(repr(error))

        await asyncio.gather(*(one() for _ in range(CLIENTS)), self._change())

    def _body(self, **more: Any) -> dict[str, Any]:
        service = self._chance.choice(("ops", "concise"))
        length = self._chance.choice((1, 8, 32, 64))
        return {"model": service, "max_tokens": length, **more}

    async def _stream(self) -> None:
        messages = [{"role": "user", "content": PROMPT}]
        body = self._body(messages=messages, stream=True)
        answer = await self._client.post("/v1/chat/completions", json=body)
        self.counts[f"stream {answer.status_code}"] += 1
        if answer.status_code == httpx.codes.OK and not answer.text.endswith("data: [DONE]\n\n"):
            self.cut.append(answer.text[-200:])

    async def _whole(self) -> None:
        body = self._body(prompt=PROMPT, n=self._chance.choice((1, 3)), logprobs=2)
        answer = await self._client.post("/v1/completions", json=body)
        self.counts[f"whole {answer.status_code}"] += 1

    async def _feedback(self) -> None:
        answer = await self._client.post("/v1/completions", json=self._body(prompt=PROMPT))
        if answer.status_code == httpx.codes.OK:
            rated = {"request_id": answer.headers["x-request-id"], "score": 1}
            rating = await self._client.post("/v1/feedback", json=rated)
            self.counts[f"feedback {rating.status_code}"] += 1

    async def _refused(self) -> None:
        body = self._body(prompt=PROMPT, temperature=9)
        answer = await self._client.post("/v1/completions", json=body)
        self.counts[f"refused {answer.status_code}"] += 1

    async def _wrong_key(self) -> None:
        reader, writer = await open_connection(self._target)
        writer.write(head(self._target, 10, key=False) + b" " * 10)
        await reader.read(65_536)
        writer.close()
        self.counts["without a key"] += 1

    async def _disconnect(self) -> None:
        with_body = self._client.stream(
            "POST", "/v1/completions", json=self._body(prompt=PROMPT, stream=True)
        )
        async with with_body as answer:
            async for _ in answer.aiter_raw():
                break
        self.counts["disconnected"] += 1

    async def _change(self) -> None:
        """A person who moves traffic and turns a knob, every few seconds."""
        home = Home(Path(self._target.home))
        for number in itertools.count():
            await asyncio.sleep(7)
            arms = {"r1": 5_000 + 100 * (number % 50), "r2": 5_000 - 100 * (number % 50)}
            await control_socket.ask(home, "services.split", "ops", {"arms": arms})
            knob = {"name": "queue_limit", "value": 100 + number % 50}
            await control_socket.ask(home, "knobs.set", "ops-1.0.0", knob)
            self.counts["changes"] += 2


def sizes(node_pid: int) -> dict[str, Sizes]:
    """Each process of the box by what it is, without those of releases that nothing asks."""
    found = {}
    node = psutil.Process(node_pid)
    for process in [node, *node.children(recursive=True)]:
        try:
            with process.oneshot():
                name = " ".join(process.cmdline()[1:4] + process.cmdline()[-1:])
                found[f"{process.pid} {name}"[:60]] = Sizes(
                    process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()
                )
        except psutil.NoSuchProcess:
            continue
    return found


def grown(samples: list[Sizes]) -> dict[str, tuple[float, float]]:
    """The medians of the second tenth of the time and of the last, for each measure."""
    tenth = max(len(samples) // TENTHS, 1)
    early, late = samples[tenth : 2 * tenth], samples[-tenth:]

    def medians(of: Callable[[Sizes], float]) -> tuple[float, float]:
        return statistics.median(map(of, early)), statistics.median(map(of, late))

    return {
        "memory MB": medians(lambda each: each.memory_mb),
        "files": medians(lambda each: each.files),
        "threads": medians(lambda each: each.threads),
    }


async def main(minutes: float) -> int:
    """Load the box for so long, then say what it held."""
    seen: dict[str, list[Sizes]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        async with attacked(Path(folder) / "home") as (node, target, _):
            load = Load(target)
            task = asyncio.create_task(load.run())
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end and not task.done():
                await asyncio.sleep(EVERY_S)
                for name, each in sizes(node.pid).items():
                    seen[name].append(each)
            if task.done():
                task.result()
            task.cancel()
            store = Home(Path(target.home)).database.stat().st_size / 2**20
    worst = 0
    for name, samples in seen.items():
        if len(samples) < TENTHS * 2:
            continue
        for measure, (early, late) in grown(samples).items():
            over = late - early > GROWTH[measure]
            worst |= over
            _say(f"{name:<60} {measure:<10} {early:9.1f} -> {late:9.1f}{'  GREW' * over}")
    _say(f"requests {dict(sorted(load.counts.items()))}; cut {len(load.cut)}; store {store:.0f} MB")
    restarted = len(seen) - len([each for each in seen.values() if len(each) >= TENTHS * 2])
    _say(f"processes {len(seen)}, of which short-lived {restarted}")
    return 1 if worst or load.cut else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    sys.exit(asyncio.run(main(parser.parse_args().minutes)))
