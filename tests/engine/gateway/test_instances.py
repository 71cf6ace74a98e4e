"""Two real instances of one deployment: they share the load, and one may go."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

from storage import deployments
from storage import store as stores
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

PARALLEL = 12


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One deployment with two instances."""
    made = asyncio.run(gateway_processes.furnish(tmp_path_factory.mktemp("instances") / "home"))
    plain = made.releases["plain"]

    async def scale() -> None:
        store = await stores.open(made.home)
        await store.write(lambda s: deployments.scale(s, plain.deployment, 2, actor="t", at_us=9))
        await store.close()

    asyncio.run(scale())
    with gateway_processes.running(made):
        for number in (1, 2):
            made.start_worker(plain, number)
        made.start_gateway()
        until(lambda: all(value is not None for value in running(made).values()))
        yield made


def until(true: Callable[[], bool], within_s: float = 60) -> None:
    """Ask until it is so."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end


def running(stack: Stack) -> dict[str, float | None]:
    """How many sequences each instance computes, None while it is not connected."""
    with stack.http("viewer") as http:
        families = {f.name: f for f in text_string_to_metric_families(http.get("/metrics").text)}
    up = {s.labels["worker"]: s.value for s in families["paddock_worker_up"].samples}
    busy = {s.labels["worker"]: s.value for s in families["paddock_worker_running"].samples}
    return {name: busy.get(name) if up[name] else None for name in up}


def ask(client: OpenAI, number: int) -> str:
    """An answer that takes a while."""
    answer = client.completions.create(
        model="raw", prompt=f"order {number}", max_tokens=150, temperature=1.5, seed=number
    )
    return answer.choices[0].finish_reason


def under_load(stack: Stack, act: Callable[[], Any]) -> list[str]:
    """Act while both instances compute; how every request ended."""
    with (
        OpenAI(
            base_url=f"{stack.url}/v1", api_key=stack.secrets["client"], max_retries=0, timeout=120
        ) as client,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):
        asked: list[Future[str]] = [pool.submit(ask, client, n) for n in range(3 * PARALLEL)]
        until(lambda: all(running(stack).values()))
        act()
        return [each.result() for each in asked]


def test_one_that_is_killed_loses_no_request_that_had_sent_nothing(stack: Stack) -> None:
    """The other answers what it had; it is back when it is started again."""
    plain = stack.releases["plain"]
    second = deployments.instance(plain.deployment, 2)
    ends = under_load(stack, lambda: stack.kill(second))
    assert set(ends) <= {"stop", "length"}
    assert running(stack)[second] is None
    stack.start_worker(plain, 2)
    until(lambda: running(stack)[second] is not None)


def test_one_that_is_drained_loses_nothing(stack: Stack) -> None:
    """It ends what it had begun and leaves; the other takes the rest."""
    plain = stack.releases["plain"]
    second = deployments.instance(plain.deployment, 2)
    process = stack.processes[second]
    ends = under_load(stack, lambda: process.send_signal(signal.SIGTERM))
    assert set(ends) <= {"stop", "length"}
    assert stack.stop(second) == 0
    stack.start_worker(plain, 2)
    until(lambda: running(stack)[second] is not None)
