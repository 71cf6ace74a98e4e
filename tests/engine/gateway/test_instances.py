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


def test_a_stopped_instance_gets_no_request_and_without_the_other_nothing_is_ready(
    stack: Stack,
) -> None:
    """Their processes live; what counts is that they are heard."""
    plain = stack.releases["plain"]
    instances = [deployments.instance(plain.deployment, number) for number in (1, 2)]
    names = (plain.deployment, instances[1])

    def readiness() -> tuple[int, list[str]]:
        with stack.http(None) as http:
            said = http.get("/readyz", params={"service": "raw"})
        return said.status_code, [each["reason"] for each in said.json()["reasons"]]

    try:
        stack.processes[names[1]].send_signal(signal.SIGSTOP)
        until(lambda: running(stack)[instances[1]] is None)
        with OpenAI(
            base_url=f"{stack.url}/v1", api_key=stack.secrets["client"], max_retries=0, timeout=120
        ) as client:
            assert [ask(client, number) for number in range(4)]
        assert readiness() == (200, [])
        stack.processes[names[0]].send_signal(signal.SIGSTOP)
        until(lambda: readiness()[0] == 503)
        (reason,) = readiness()[1]
        assert reason.startswith(f"{plain.deployment} has been silent for ")
    finally:
        for name in names:
            stack.processes[name].send_signal(signal.SIGCONT)
    until(lambda: readiness() == (200, []))


def test_a_service_whose_requests_all_fail_is_not_ready(stack: Stack) -> None:
    """Its worker is well, its prompt is not; the others are ready, and metrics count by code."""
    release = stack.releases["broken"]
    body = {"model": "faulty", "messages": [{"role": "user", "content": "Hello"}]}
    before = time.time_ns() // 1000
    with stack.http() as http:
        codes = [http.post("/v1/chat/completions", json=body).status_code for _ in range(3)]
    assert set(codes) == {500}
    with stack.http("viewer") as http:
        said = http.get("/readyz", params={"service": "faulty"})
        assert http.get("/readyz", params={"service": "raw"}).status_code == 200
        assert http.get("/readyz").status_code == 503
        metrics = http.get("/metrics").text
    assert said.status_code == 503
    (reason,) = said.json()["reasons"]
    assert (reason["service"], reason["release"], reason["failed"]) == ("faulty", release.name, 3)
    assert reason["error"].startswith("prompt_broken: ")
    assert reason["reason"].endswith(reason["error"])
    assert before <= reason["since_us"] <= time.time_ns() // 1000
    labels = f'code="prompt_broken",release="{release.name}",service="faulty"'
    assert f'paddock_failures_total{{{labels},worker="{release.deployment}"}} 3.0' in metrics
