"""Synthetic load: asks a service held-out questions, judges the answers, sends feedback.

An HTTP client like any other. Its key is recorded as synthetic, and so are its requests wherever
they are counted. It knows the correct answers because the questions are generated. It never touches
the workers and never writes to the store; it reads the split once, so that the first requests reach
every arm. Started by `paddock demo` as `python -m engine.shipped.synthetic_load`, with the key on
standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import httpx

from engine.shipped import client, held_out

USERS: Final = tuple(f"synthetic-{n:03d}" for n in range(120))
IN_FLIGHT: Final = 8  # further arrivals are dropped, so that slow answers do not pile up
GONE_S: Final = 15.0  # without a connection for this long, the node is considered stopped
REPORT_EVERY_S: Final = 10.0
STREAMED: Final = 0.4
MAX_TOKENS: Final = 64


@dataclass(slots=True)
class Tally:
    """Counts of requests by outcome and arm, for the log."""

    asked: int = 0
    right: int = 0
    wrong: int = 0
    refused: int = 0
    failed: int = 0
    arms: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """One line of the log; it says that the load is synthetic."""
        arms = ", ".join(f"{arm} {n}" for arm, n in sorted(self.arms.items())) or "none yet"
        return (
            f"synthetic load: asked {self.asked}, right {self.right}, wrong {self.wrong}, "
            f"refused {self.refused}, failed {self.failed}; answered by {arms}"
        )


def gaps(rate: float, rng: random.Random) -> Iterator[float]:
    """Seconds between the arrivals of a Poisson process of `rate` per second."""
    while True:
        yield rng.expovariate(rate)


def every_arm_first(users: Sequence[str], arm_of: dict[str, int | None]) -> list[str]:
    """The users in order, but one of each arm first, so that small arms get requests early."""
    first: dict[int | None, str] = {}
    for user in users:
        first.setdefault(arm_of.get(user), user)
    leaders = list(first.values())
    return leaders + [user for user in users if user not in set(leaders)]


class Load:
    """One run of the load against one service."""

    def __init__(
        self, http: httpx.AsyncClient, service: str, users: Sequence[str], seed: int
    ) -> None:
        self.http = http
        self.service = service
        self.users = users
        self.rng = random.Random(seed)
        self.tally = Tally()
        self.questions = held_out.read()
        self.connected_s = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Send requests until `stop` is set or the node has stopped."""
        reported_s = time.monotonic()
        turn = 0
        for gap in gaps(rate, self.rng):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), gap)
            now_s = time.monotonic()
            if stop.is_set() or now_s - self.connected_s > GONE_S:
                break
            if len(self._tasks) < IN_FLIGHT:
                self._start(self.users[turn % len(self.users)])
                turn += 1
            if now_s - reported_s > REPORT_EVERY_S:
                reported_s = now_s
                say(self.tally.line())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        say(self.tally.line())

    def _start(self, user: str) -> None:
        question = self.rng.choice(self.questions)
        stream = self.rng.random() < STREAMED
        task = asyncio.create_task(self._ask(user, question, stream=stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, user: str, question: held_out.Question, *, stream: bool) -> None:
        self.tally.asked += 1
        body: dict[str, Any] = {
            "model": self.service,
            "messages": [{"role": "user", "content": question.text}],
            "user": user,
            "max_tokens": MAX_TOKENS,
            "stream": stream,
        }
        try:
            answer = await client.ask(self.http, body)
        except httpx.ConnectError:
            self.tally.failed += 1  # without a connection `connected_s` stays
            return
        except client.Overloaded:
            self.connected_s = time.monotonic()
            self.tally.refused += 1
            return
        except (httpx.HTTPError, client.BadAnswer):
            self.connected_s = time.monotonic()
            self.tally.failed += 1
            return
        self.connected_s = time.monotonic()
        self.tally.arms[answer.release] = self.tally.arms.get(answer.release, 0) + 1
        correct = held_out.judge(question, answer.text)
        self.tally.right += correct
        self.tally.wrong += not correct
        with contextlib.suppress(httpx.HTTPError):
            await client.send_feedback(self.http, answer, correct=correct)


def say(text: str) -> None:
    """Write a line to standard output and flush it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def hold(lock: Path) -> IO[str] | None:
    """The locked file, with our pid in it; None if another load holds the lock."""
    file = os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


async def arms_of(home: Path, service: str, users: Sequence[str]) -> dict[str, int | None]:
    """The release that answers each user under the current split."""
    from engine.traffic import routing  # noqa: PLC0415
    from storage import services, store  # noqa: PLC0415
    from storage.home import paths as homes  # noqa: PLC0415

    opened = await store.open(homes.find(home), readonly=True)
    try:
        async with opened.read() as s:
            split = (await services.find(s, service)).split
    finally:
        await opened.close()
    return {user: routing.assign(split.ranges, split.salt, user).release for user in users}


async def ask(arguments: argparse.Namespace, key: str) -> None:
    """Run the load until SIGTERM, SIGINT or the end of the node."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    arm_of = await arms_of(arguments.home, arguments.service, USERS)
    async with httpx.AsyncClient(
        base_url=arguments.url,
        headers={"authorization": f"Bearer {key}", "user-agent": "paddock-synthetic-load"},
        timeout=60.0,
        trust_env=False,
    ) as http:
        load = Load(http, arguments.service, every_arm_first(USERS, arm_of), arguments.seed)
        say(
            f"synthetic load: {arguments.rate:g} questions a second from the held-out set to "
            f"{arguments.service} at {arguments.url}, as {len(USERS)} users"
        )
        await load.run(arguments.rate, stop)


def main() -> None:
    """Read the key from standard input, take the lock and run the load."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.shipped.synthetic_load", description=__doc__
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--rate", type=float, default=5.0, help="questions a second")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.umask(0o077)
    lock = hold(arguments.home / "run" / "load.lock")
    if lock is None:
        sys.exit("another synthetic load is running on this data directory; stop it first")
    key = sys.stdin.readline().strip()
    if not key:
        sys.exit("no key on standard input; write it there, on one line")
    with lock:
        asyncio.run(ask(arguments, key))


if __name__ == "__main__":
    main()
