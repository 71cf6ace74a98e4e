"""The box of the rollouts' tests, with users whom the gateway's own code assigns to arms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from engine.control.ab_tests import people
from engine.control.ab_tests.controller import AbTests
from engine.control.ab_tests.decide import Plan
from engine.control.intents import Intents
from engine.control.reconcile import Loop
from engine.execution import plan as plans
from engine.traffic import routing
from storage import ab_test_looks, ab_test_units, ab_tests, feedback, intents, requests
from storage import store as stores
from storage.ab_test_goals import parse
from storage.ab_test_looks import Look
from storage.ab_test_units import Exposed
from storage.ab_tests import AbTest
from storage.home.pepper import Pepper
from storage.requests import Outcome, Request
from storage.store import Session
from tests.engine.control import turns
from tests.engine.control.rollouts import worlds as rollout_worlds
from tests.home_templates import Template

PEPPER: Final = Pepper(b"0" * 32)
ARMS: Final = {"r1": 5_000, "r2": 5_000}
CONTROL, TREATMENT = 1, 2

Answer = Callable[[str, int], Request]
"""What a user gets of a release; `answer` makes the usual one."""


def goal(typed: str) -> dict[str, Any]:
    """A goal as the verb takes it."""
    found = parse(typed)
    return {"metric": found.metric.value, "better": found.better.value, "least": found.least}


class World(rollout_worlds.World):
    """A service `support` on r1, whose worker is ready; r2 has to be loaded."""

    async def begin(self, goals: Iterable[str] = ("thumbs_up",), **arguments: Any) -> AbTest:
        """A test is started, and accepted.

        Its salt follows from the clock: one in a thousand assigns so unevenly that it is marked.
        """
        asked = {"arms": ARMS, "goals": [goal(each) for each in goals]} | arguments
        salts = SimpleNamespace(token_hex=lambda _: f"{self.now_us:016x}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(people, "secrets", salts)
            done = await self.ask("ab_tests.start", **asked)
        assert done.state is intents.State.APPLIED, done.outcome
        return await self.test()

    async def run(self, goals: Iterable[str] = ("thumbs_up",), **arguments: Any) -> AbTest:
        """A test that is running: every arm can answer."""
        await self.begin(goals, **arguments)
        await self.load(TREATMENT)
        await self.settle()
        return await self.test()

    async def obey(self) -> None:
        """Control carries out the intents that wait."""
        await Loop(self.store, [Intents()], now_us=lambda: self.now_us).settle()

    async def visit(
        self,
        users: Iterable[str],
        *,
        outcome: Callable[[str, int], Outcome] | None = None,
        latency_us: Callable[[str, int], int] | None = None,
        to: int | None = None,
    ) -> dict[str, int]:
        """Each user asks once; the release of each. `to`: a gateway that assigns wrongly."""
        service = await self.service()
        assigned: dict[str, int] = {}
        rows = []
        for user in users:
            split = service.split
            release = to or routing.assign(split.ranges, split.salt, user).release
            exposure = plans.exposure(service, user, PEPPER)
            assigned[user] = release
            self._requests += 1
            rows.append(
                Request(
                    id=f"req_{self._requests}", at_us=self.now_us, service="support",
                    release=release, worker="w", endpoint="chat", key_id=1, tenant="acme",
                    outcome=Outcome.OK if outcome is None else outcome(user, release),
                    completion_tokens=20, ttft_us=10_000, busy_us=50_000,
                    latency_us=200_000 if latency_us is None else latency_us(user, release),
                    ab_test=None if exposure is None else exposure.ab_test,
                    unit=None if exposure is None else exposure.unit,
                )
            )  # fmt: skip
        await self.store.write(lambda s: requests.record(s, rows))
        return assigned

    async def rate(self, users: dict[str, int], likes: Callable[[str, int], bool]) -> None:
        """Each user, who asked last, rates the answer of a release."""
        first = self._requests - len(users) + 1

        async def work(s: Session) -> None:
            for number, (user, release) in enumerate(users.items(), first):
                await feedback.add(
                    s, request_id=f"req_{number}", at_us=self.now_us, correct=None,
                    score=1 if likes(user, release) else -1, comment=None, key_id=1,
                )  # fmt: skip

        await self.store.write(work)

    async def turn(self) -> Plan | None:  # type: ignore[override]
        """One look and at most one act, by a new controller."""
        return await turns.take(self.store, AbTests(), Plan, self.now_us)

    async def settle(self) -> list[Plan]:  # type: ignore[override]
        """Turns until there is nothing to do."""
        return await turns.settle(self.turn)

    async def test(self) -> AbTest:
        """The newest test."""
        async with self.store.read() as s:
            found = await ab_tests.latest(s, "support")
        assert found is not None
        return found

    async def verdicts(self) -> dict[tuple[str, int], Look]:
        """The newest looks of the newest test, by name and release."""
        newest = await self.test()
        async with self.store.read() as s:
            looks = await ab_test_looks.of(s, newest.id)
        return {(look.name, look.release): look for look in looks}

    async def units(self) -> list[Exposed]:
        """The exposure log of the newest test."""
        newest = await self.test()
        async with self.store.read() as s:
            return await ab_test_units.log(s, newest.id, limit=100_000)


_FURNISHED: Final = Template(lambda store: World(store).furnish())


@asynccontextmanager
async def made(root: Path) -> AsyncIterator[World]:
    """A world in a new home."""
    store = await stores.open(await _FURNISHED.copy(root))
    try:
        yield World(store)
    finally:
        await store.close()
