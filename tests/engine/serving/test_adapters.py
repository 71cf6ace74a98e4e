"""Adapters are loaded and freed beside the streams, and nothing of them stays."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from engine.serving import wire
from tests import home_fixtures
from tests.engine.serving import workers
from tests.engine.serving.workers import Gateway, order

Process = subprocess.Popen[bytes]

ROUNDS = 65
"""Rounds until the allocator has taken from the system what it keeps."""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Process]:
    """A worker of its own: what is freed shows in its memory."""
    with workers.running(tmp_path / "worker.sock", sequences=8) as process:
        yield process


@pytest.fixture
async def gateway(worker: Process, tmp_path: Path) -> AsyncIterator[Gateway]:
    """Connected to it."""
    assert worker.poll() is None
    async with workers.connected(tmp_path / "worker.sock") as one:
        yield one


async def loaded(gateway: Gateway, adapter: str) -> None:
    """Wait until it can be used."""
    heard = gateway.ask(order("Order 157", adapter=adapter, max_tokens=1))
    await heard.finish()


async def test_streams_go_on_while_an_adapter_is_hashed_and_loaded(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A large file: many steps are computed before it is ready."""
    large = tmp_path / "large.gguf"
    large.write_bytes(home_fixtures.ADAPTER.read_bytes())
    with large.open("r+b") as file:
        file.truncate(256 << 20)  # libllama ignores what follows the tensors
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    streams = [gateway.ask(order(workers.NO_END, max_tokens=400)) for _ in range(6)]
    await asyncio.gather(*(stream.begun.wait() for stream in streams))
    before = len(gateway.steps)
    gateway.client.want_adapters({"large": wire.LoadAdapter("large", str(large), sha256)})
    await loaded(gateway, "large")
    meanwhile = gateway.steps[before:]
    first = next(at for at, step in enumerate(meanwhile) if step.adapter == "large")
    assert sum(step.decode_tokens > 0 for step in meanwhile[:first]) > 20


async def test_an_adapter_that_is_no_longer_wanted_is_unloaded_when_it_is_idle(
    gateway: Gateway,
) -> None:
    """Its streams end as they would have; then its KV memory is gone, and it can come back."""
    question = workers.questions(4)[0]
    gateway.client.want_adapters({"lora": workers.lora()})
    (expected,) = await gateway.together([order(question, adapter="lora")])
    stream = gateway.ask(order(question, adapter="lora"))
    await stream.begun.wait()
    both = gateway.steps[-1].kv_total_tokens
    gateway.client.want_adapters({})
    await stream.finish()
    assert stream.text == expected
    assert not gateway.client.serves("lora")
    await gateway.together([order(question)])
    assert gateway.steps[-1].kv_total_tokens == both // 2
    gateway.client.want_adapters({"lora": workers.lora()})
    assert await gateway.together([order(question, adapter="lora")]) == [expected]


async def test_an_adapter_that_is_unwanted_while_it_loads_does_not_stay(gateway: Gateway) -> None:
    """Wanted, unwanted and wanted again within one load: only the last counts."""
    gateway.client.want_adapters({"lora": workers.lora()})
    await asyncio.sleep(0)
    gateway.client.want_adapters({})
    await gateway.together([order(question) for question in workers.questions(4)])
    gateway.client.want_adapters({"lora": workers.lora()})
    await loaded(gateway, "lora")
    gateway.client.want_adapters({})
    gateway.client.want_adapters({"lora": workers.lora()})
    await loaded(gateway, "lora")
    assert gateway.client.failed == {}


async def test_memory_is_flat_over_many_rounds_of_loading_and_unloading(
    gateway: Gateway, worker: Process
) -> None:
    """Adapter, context and compute buffers are freed each time.

    A round leaked 0.8 MB of adapter alone, and the context's memory with it. The least of many
    rounds is compared, once the allocator has what it keeps: how much that is differs.
    """
    process = psutil.Process(worker.pid)

    async def round_() -> int:
        gateway.client.want_adapters({"lora": workers.lora()})
        await loaded(gateway, "lora")
        gateway.client.want_adapters({})
        await loaded(gateway, "")
        return int(process.memory_info().rss)

    _, settled, last = [[await round_() for _ in range(ROUNDS)] for _ in range(3)]
    assert min(last) - min(settled) < 20 << 20


async def test_streams_of_the_base_are_right_while_adapters_come_and_go(gateway: Gateway) -> None:
    """Contexts are made and freed in one thread while another computes on the same weights."""
    questions = workers.questions(4)
    submits = [order(question) for question in questions]
    alone = await gateway.one_by_one(submits)
    for _ in range(15):
        many = [gateway.ask(submit) for submit in submits]
        gateway.client.want_adapters({"lora": workers.lora()})
        await loaded(gateway, "lora")
        gateway.client.want_adapters({})
        for heard in many:
            await heard.finish()
        assert [heard.text for heard in many] == alone


async def test_a_broken_adapter_leaves_no_memory(
    gateway: Gateway, worker: Process, tmp_path: Path
) -> None:
    """However often it is tried."""
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(home_fixtures.ADAPTER.read_bytes()[:-4096])
    sha256 = hashlib.sha256(torn.read_bytes()).hexdigest()
    process = psutil.Process(worker.pid)
    sizes = []
    for number in range(40):
        name = f"torn{number}"
        gateway.client.want_adapters({name: wire.LoadAdapter(name, str(torn), sha256)})
        refused = await gateway.ask(order("Order", adapter=name)).refusal()
        assert refused.code == "no_adapter"
        sizes.append(process.memory_info().rss)
    assert sizes[-1] - sizes[10] < 5 << 20


async def test_the_node_learns_of_each_load_before_it_begins(
    gateway: Gateway, worker: Process
) -> None:
    """So that it knows which file took the worker along, if one did."""
    assert worker.stdout is not None
    lines = map(json.loads, worker.stdout)
    said = (
        line
        for line in lines
        if line.keys() & {"loading_adapter", "adapter_loaded", "adapter_failed"}
    )
    for _ in range(2):
        gateway.client.want_adapters({"lora": workers.lora()})
        await loaded(gateway, "lora")
        gateway.client.want_adapters({})
        await loaded(gateway, "")
    heard = await asyncio.to_thread(lambda: list(itertools.islice(said, 4)))
    begun = {"loading_adapter": "lora"}
    done = {"adapter_loaded": "lora", "sha256": workers.lora().sha256}
    assert heard == [begun, done] * 2
