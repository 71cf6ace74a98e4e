"""An A/B test behind a real gateway: what clients are told, and what the exposure log says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from engine.control.ab_tests.controller import AbTests
from engine.control.intents import Intents
from engine.control.reconcile import Loop
from engine.execution import plan
from storage import ab_test_units, ab_tests, intents, keys, processes, services
from storage import store as stores
from storage.ab_test_units import Exposed
from storage.ab_tests import AbTest
from storage.home import clock
from storage.processes import Kind, State
from storage.store import Session, Store
from tests.engine.control.ab_tests.worlds import goal
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

USERS = [f"kim.{number}@example.org" for number in range(40)]


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One worker for both arms, and a gateway; control is played by the test."""
    made = asyncio.run(gateway_processes.furnish(tmp_path_factory.mktemp("ab") / "home"))
    with gateway_processes.running(made):
        made.start_worker(made.releases["plain"])
        made.start_gateway()
        made.until_ready()
        yield made


async def begin(stack: Stack) -> None:
    """Start a test of `raw` between its release and a prompted one, as control does."""
    arms = {stack.releases[name].name: 5_000 for name in ("plain", "prompted")}
    deployment = stack.releases["plain"].deployment
    assert stack.releases["prompted"].deployment == deployment

    async def work(s: Session) -> None:
        at_us = clock.now_us()
        name = f"{deployment}:1"
        await processes.declare(s, name=name, kind=Kind.WORKER, deployment=deployment, at_us=at_us)
        await processes.move(s, name, State.READY, at_us=at_us)
        await intents.accept(
            s, actor="kim", role="operator", verb="ab_tests.start", target="raw",
            arguments={"arms": arms, "goals": [goal("latency")]}, at_us=at_us,
            expected_version=None, reason="",
        )  # fmt: skip

    store = await gateway_processes.opened(stack)
    await store.write(work)
    await control(store)
    await store.close()


async def control(store: Store) -> None:
    """All that control has to do now."""
    await Loop(store, [Intents(), AbTests()], now_us=clock.now_us).settle()


async def log(stack: Stack) -> tuple[AbTest, list[Exposed], dict[str, str]]:
    """The test, its exposure log once control has looked, and each user's hash."""
    store = await stores.open(stack.home)
    await control(store)
    async with store.read() as s:
        test = await ab_tests.latest(s, "raw")
        assert test is not None
        service, pepper = await services.find(s, "raw"), await keys.checked_with(s)
        units = await ab_test_units.log(s, test.id)
    await store.close()
    hashes = {}
    for user in USERS:
        exposure = plan.exposure(service, user, pepper)
        assert exposure is not None
        hashes[exposure.unit] = user
    return test, units, hashes


def ask(http: httpx.Client, user: str, **headers: str) -> str:
    """A short answer; the release that the client is told."""
    body: dict[str, Any] = {"model": "raw", "prompt": "order 17", "max_tokens": 2, "user": user}
    answer = http.post("/v1/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-paddock-release"]


def told(stack: Stack) -> dict[str, str]:
    """Every user asks once."""
    with stack.http() as http, ThreadPoolExecutor(4) as pool:
        return dict(zip(USERS, pool.map(lambda user: ask(http, user), USERS), strict=True))


def test_the_exposure_log_is_what_clients_were_told(stack: Stack) -> None:
    """Each user once, under a hash, with the arm of the x-paddock-release header.

    A user keeps the arm when the gateway is started again; a pinned request is of no arm.
    """
    asyncio.run(begin(stack))
    names = {stack.releases[name].name for name in ("plain", "prompted")}
    first = told(stack)
    while set(first.values()) != names:  # the gateway has not seen the split yet
        first = told(stack)
    first = told(stack)
    with stack.http("operator") as http:
        assert ask(http, "pinned@example.org", **{"x-paddock-release": "r1"}) == "r1"
    assert stack.stop("gateway") == 0
    stack.start_gateway()
    stack.until_ready()
    assert told(stack) == first
    assert stack.stop("gateway") == 0  # it has written what it held
    test, units, hashes = asyncio.run(log(stack))
    assert {hashes[unit.unit]: f"r{unit.release}" for unit in units} == first
    assert len(units) == len(USERS)
    assert all(unit.failed is False and unit.latency_us for unit in units)
    assert all(unit.at_us >= (test.exposed_at_us or 0) for unit in units)
    kept = b"".join(path.read_bytes() for path in stack.home.root.rglob("*") if path.is_file())
    assert b"r1" in kept
    assert b"@example.org" not in kept
