"""Synthetic load: asks a service held-out questions, judges the answers, sends feedback.

An HTTP client like any other, with a key that the gateway records as synthetic: what it asks is
labelled so wherever it is counted. It knows the right answers because the world it asks about is
the repository's own. It never touches the workers and never writes to the store; it reads the
split once, to meet the users of small arms early. Started by `paddock demo` as
`python -m engine.shipped.synthetic_load`, which hands it the key on standard input.
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

from engine.shipped import asking, held_out

USERS: Final = tuple(f"synthetic-{n:03d}" for n in range(120))
IN_FLIGHT: Final = 8  # a late answer costs an arrival, it never piles up
GONE_S: Final = 15.0  # without the gateway for so long, the node has gone
TOLD_S: Final = 10.0  # between two lines about how it goes
STREAMED: Final = 0.4
MAX_TOKENS: Final = 64


@dataclass(slots=True)
class Tally:
    """What came of it, for the log."""

    asked: int = 0
    right: int = 0
    wrong: int = 0
    refused: int = 0
    failed: int = 0
    arms: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """One line, with the word synthetic in it."""
        arms = ", ".join(f"{arm} {n}" for arm, n in sorted(self.arms.items())) or "none yet"
        return (
            f"synthetic load: asked {self.asked}, right {self.right}, wrong {self.wrong}, "
            f"refused {self.refused}, failed {self.failed}; answered by {arms}"
        )


def gaps(rate: float, rng: random.Random) -> Iterator[float]:
    """Seconds between arrivals of independent people, `rate` of them a second."""
    while True:
        yield rng.expovariate(rate)


def meet_every_arm(users: Sequence[str], arm_of: dict[str, int | None]) -> list[str]:
    """The users in order, but first one of each arm, so that a small arm is not long unseen."""
    first: dict[int | None, str] = {}
    for user in users:
        first.setdefault(arm_of.get(user), user)
    leaders = list(first.values())
    return leaders + [user for user in users if user not in set(leaders)]


class Load:
    """One run of the load against one service."""

    def __init__(
        self, client: httpx.AsyncClient, service: str, users: Sequence[str], seed: int
    ) -> None:
        self.client = client
        self.service = service
        self.users = users
        self.rng = random.Random(seed)
        self.tally = Tally()
        self.questions = held_out.read()
        self.heard_s = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Ask until told to stop or until the node has gone."""
        told_s = time.monotonic()
        turn = 0
        for gap in gaps(rate, self.rng):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), gap)
            now_s = time.monotonic()
            if stop.is_set() or now_s - self.heard_s > GONE_S:
                break
            if len(self._tasks) < IN_FLIGHT:
                self._start(self.users[turn % len(self.users)])
                turn += 1
            if now_s - told_s > TOLD_S:
                told_s = now_s
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
            answer = await asking.ask(self.client, body)
        except httpx.ConnectError:
            self.tally.failed += 1  # nobody there: `heard_s` grows old
            return
        except asking.Refused:
            self.heard_s = time.monotonic()
            self.tally.refused += 1
            return
        except (httpx.HTTPError, asking.Broken):
            self.heard_s = time.monotonic()
            self.tally.failed += 1
            return
        self.heard_s = time.monotonic()
        self.tally.arms[answer.release] = self.tally.arms.get(answer.release, 0) + 1
        correct = held_out.judge(question, answer.text)
        self.tally.right += correct
        self.tally.wrong += not correct
        with contextlib.suppress(httpx.HTTPError):
            await asking.judge(self.client, answer, correct=correct)


def say(text: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def hold(lock: Path) -> IO[str] | None:
    """The lock file with our pid in it; None when another load holds it."""
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
    """The arm that answers each user under the split that stands now."""
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
    """Run the load until SIGTERM, SIGINT or the node's end."""
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
    ) as client:
        load = Load(client, arguments.service, meet_every_arm(USERS, arm_of), arguments.seed)
        say(
            f"synthetic load: {arguments.rate:g} questions a second from the held-out set to "
            f"{arguments.service} at {arguments.url}, as {len(USERS)} users"
        )
        await load.run(arguments.rate, stop)


def main() -> None:
    """Read the key from standard input, hold the lock, ask."""
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
        sys.exit("another synthetic load runs on this home; stop it first")
    key = sys.stdin.readline().strip()
    if not key:
        sys.exit("give the key on standard input, on one line")
    with lock:
        asyncio.run(ask(arguments, key))


if __name__ == "__main__":
    main()
