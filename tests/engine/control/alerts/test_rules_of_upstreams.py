"""Rules about instances fire for upstreams, from what vLLM and llama-server say at `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from engine.backends.upstream.exchange import Exchange
from engine.backends.upstream.health import Health, Targets
from engine.backends.upstream.server import Server, Settings
from engine.metering import series_of_samples, series_of_state
from storage import alert_expressions, alert_rule_files, alert_rules
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.samples import InstanceSample
from tests.app import populated_homes
from tests.engine.backends.upstream import loopback
from tests.engine.backends.upstream.loopback import Asked, Reply
from tests.engine.control.alerts import test_shipped_rules
from tests.engine.execution import jobs

VLLM: Final = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 8.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 20.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.98
"""
LLAMA_SERVER: Final = """\
# HELP llamacpp:requests_processing Number of requests processing.
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 4
# HELP llamacpp:requests_deferred Number of requests deferred.
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 9
"""
BUSY: Final = {"queue-wait", "queue-length", "kv-pressure"}
"""Those that hold for a server which says this."""


@asynccontextmanager
async def upstream(metrics: str) -> AsyncIterator[tuple[Exchange, asyncio.Event]]:
    """A server that says this at /metrics and answers nothing; set once it was asked."""
    asked = asyncio.Event()

    async def silent(_: Asked, reply: Reply) -> None:
        asked.set()
        await reply.gone()

    async with loopback.serving(silent) as peer:
        peer.metrics = metrics
        server = Server(Settings(name="far", url=peer.url, max_connections=1))
        root = peer.url.removesuffix("/v1")
        health = Health(server, Targets(f"{peer.url}/models", f"{root}/metrics"))
        try:
            yield Exchange(server, health, "m"), asked
        finally:
            await server.close()


async def sample(metrics: str, *, since_s: float = 11) -> InstanceSample:
    """What is measured of it while a request that was sent so long ago has no token yet."""

    async def ask(talk: Exchange) -> None:
        async for _ in talk.run(jobs.job(stream=True)):
            pass

    async with upstream(metrics) as (talk, asked):
        running = asyncio.create_task(ask(talk))
        await asked.wait()
        ((sent, at),) = talk.server.unanswered.items()
        talk.server.unanswered[sent] = at - since_s
        await talk.health.probe()
        ((*_, found),) = talk.health.rows(10, "far")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert talk.server.oldest() is None
    assert isinstance(found, InstanceSample)
    return found


def holding(found: InstanceSample) -> set[str]:
    """The rules that hold once this was measured for a while."""
    written: list[Any] = [
        (name, labels, lambda _, value=value: value)
        for name, labels, value in series_of_samples.of_instance("far", found)
    ]
    return {rule for rule in BUSY if [*test_shipped_rules.found(rule, written).holds.values()]}


def test_the_rules_about_instances_are_these() -> None:
    """One that is added is tried here, too."""
    about = {
        name
        for name, rule in alert_rule_files.shipped().items()
        for selector in alert_expressions.selectors(alert_rules.expression_of(rule))
        if selector.name.startswith("paddock_instance_")
    }
    assert about == BUSY | {"instance-down"}


@pytest.mark.parametrize(
    ("metrics", "expected"), [(VLLM, BUSY), (LLAMA_SERVER, BUSY - {"kv-pressure"})]
)
async def test_a_full_server_raises_them_by_its_own_figures(
    metrics: str, expected: set[str]
) -> None:
    """Queue, batch and KV cache as far as it tells; the wait is that of this box's requests."""
    assert holding(await sample(metrics)) == expected


async def test_a_server_that_is_not_full_raises_none() -> None:
    """A request that computes its first token for long does not wait for others."""
    quiet = VLLM.replace("} 20.0", "} 0.0").replace("} 0.98", "} 0.5")
    assert holding(await sample(quiet)) == set()


async def test_an_upstream_that_does_not_answer_is_down(tmp_path: Path) -> None:
    """By the health that the gateway notes of it, like a worker."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    try:
        await populated_homes.ailing(store)
        async with store.read() as s:
            values = await series_of_state.values(s, populated_homes.NOW_US)
    finally:
        await store.close()
    down: list[Any] = [
        (name, labels, lambda _, value=value: value)
        for name, labels, value in values
        if name == "paddock_instance_up" and labels["worker"] == labels["deployment"]
    ]
    found = test_shipped_rules.found("instance-down", down)
    assert len(found.holds) == 1
