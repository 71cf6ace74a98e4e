"""Supervised servers under a real node: started from a template, put back, drained, and refused."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from engine.process import address
from storage import availability, keys, processes, releases
from tests import home_fixtures
from tests.engine.gateway import peer_servers
from tests.engine.node import nodes, tiny_server
from tests.engine.node.nodes import RealNode
from tests.engine.node.shims import server_of

TINY = [sys.executable, str(Path(tiny_server.__file__)), "{port}"]
BOUND_S = 120.0
NUMBERS = itertools.count(1)


class Box:
    """A node with a client's key."""

    def __init__(self, node: RealNode, secret: str) -> None:
        self.node = node
        port = node.environment["PADDOCK_GATEWAY__PORT"]
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {secret}"},
            timeout=BOUND_S,
        )

    async def release(self, served: str, command: list[str], **more: Any) -> str:
        """A release on a supervised server; its name."""
        server = {"command": command, "model": served, **more.pop("server", {})}
        said = await self.node.must("releases.create", served, {"server": server, **more})
        return said.split()[0]

    async def complete(self, service: str, **fields: Any) -> httpx.Response:
        """A text completion of three tokens."""
        body = {"model": service, "prompt": "order 17", "max_tokens": 3, **fields}
        return await self.http.post("/v1/completions", json=body)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A node for the tests whose servers have different names."""
    made = RealNode(
        tmp_path_factory.mktemp("box") / "home", PADDOCK_LINGER_S="0.2", PADDOCK_DRAIN_S="10"
    )
    try:
        made.start()
        yield made
    finally:
        made.end()


@asynccontextmanager
async def boxed(node: RealNode) -> AsyncIterator[Box]:
    """A node that runs, with a new key."""
    minted = keys.mint()
    name = f"t{next(NUMBERS)}"
    await node.must(
        "keys.add", name,
        {"name": name, "prefix": minted.prefix, "sha256": minted.sha256, "tenant": "t"},
    )  # fmt: skip
    made = Box(node, minted.secret)
    async with made.http:
        yield made


@pytest_asyncio.fixture
async def box(node: RealNode) -> AsyncIterator[Box]:
    """The node of this module."""
    async with boxed(node) as made:
        yield made


async def test_a_command_becomes_a_service_and_is_put_back_when_it_dies(box: Box) -> None:
    """Port, model and context are filled in; a request outlives the death of its server."""
    environment = {"WHERE": "{host}:{port}", "WHAT": "{model} {context_tokens} {max_sequences}"}
    server = {"environment": environment, "context_tokens": 512, "max_sequences": 2}
    release = await box.release("tiny", TINY, server=server)
    await box.node.must("services.create", "support", {"release": release})
    parts = await box.node.until(nodes.ready("tiny:1"))
    assert parts["tiny:1"].kind is processes.Kind.SERVER
    assert parts["tiny:1"].deployment == "tiny"
    answer = await box.complete("support")
    assert answer.json()["choices"][0]["text"] == " one two three"
    assert answer.headers["x-paddock-release"] == release
    child = server_of(parts["tiny:1"].pid)
    assert child.environ()["WHAT"] == "tiny 512 2"
    assert child.environ()["WHERE"].startswith("127.0.0.1:")
    child.kill()
    assert (await box.complete("support")).json()["choices"][0]["text"] == " one two three"
    parts = await box.node.until(nodes.ready("tiny:1"))
    assert parts["tiny:1"].restarts == 1
    assert box.node.home.log("server-tiny:1").exists()


async def test_a_server_that_hangs_is_seen_and_replaced(tmp_path: Path) -> None:
    """Its shim is alive and sends heartbeats; people and balancers see it within seconds."""
    node = RealNode(tmp_path / "home", PADDOCK_SILENT_S="8")
    try:
        await asyncio.to_thread(node.start)
        async with boxed(node) as box:
            await _hang(box)
    finally:
        await asyncio.to_thread(node.end)


async def _hang(box: Box) -> None:
    release = await box.release("tiny", TINY)
    await box.node.must("services.create", "support", {"release": release})
    parts = await box.node.until(nodes.ready("tiny:1"))
    hung = server_of(parts["tiny:1"].pid)
    hung.suspend()
    while (await box.http.get("/readyz")).status_code != 503:
        await box.node.next_change()
    parts = await box.node.until(lambda now: now["tiny:1"].silent_since_us is not None)
    assert parts["tiny:1"].reason == "its server does not answer health checks"
    async with nodes.opened(box.node.home) as store, store.read() as session:
        found = (await availability.every(session))[int(release[1:])]
    assert found.can is not availability.Can.ANSWER
    parts = await box.node.until(
        lambda now: now["tiny:1"].restarts == 1 and nodes.ready("tiny:1")(now)
    )
    assert (await box.complete("support")).status_code == 200
    assert not hung.is_running()
    log = box.node.home.log("server-tiny:1").read_text()
    assert "/health has not answered 200 for 8 s" in log


async def test_a_server_that_no_split_names_is_drained_and_gone(box: Box) -> None:
    """What it was answering ends; its process and its address go."""
    first = await box.release("left", TINY)
    second = await box.release("right", TINY)
    await box.node.must("services.create", "moved", {"release": first})
    await box.node.until(nodes.ready("left:1"))
    port = await _port(box, "left:1")
    long = asyncio.create_task(box.complete("moved", max_tokens=2 * tiny_server.HELD))
    split = {"arms": {second: 10_000}}
    await box.node.must("services.split", "moved", split)
    await box.node.until(nodes.ready("right:1"))
    async with httpx.AsyncClient() as http:
        await http.get(f"http://127.0.0.1:{port}/go")
    answer = await long
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 2 * tiny_server.HELD
    await box.node.until(lambda parts: "left:1" not in parts)
    assert not box.node.home.server("left:1").exists()
    assert (await box.complete("moved")).json()["choices"][0]["text"] == " one two three"


async def test_a_server_that_cannot_start_says_why(box: Box) -> None:
    """In the process's reason, in readyz, and to the client, within its deadline."""
    release = await box.release("ghost", ["/nowhere/vllm", "{port}"], limits={"queue_s": 0.3})
    await box.node.must("services.create", "haunted", {"release": release})

    def crashed(parts: dict[str, processes.Process]) -> bool:
        return "ghost:1" in parts and parts["ghost:1"].state is processes.State.CRASHED

    parts = await box.node.until(crashed)
    assert "/nowhere/vllm cannot be started" in (parts["ghost:1"].reason or "")
    answer = await box.complete("haunted")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_unavailable")
    ready = await box.http.get("/readyz")
    assert ready.status_code == 503
    assert "no instance of server ghost is ready" in ready.text


@pytest.mark.peers
@pytest.mark.parametrize("kind", peer_servers.KINDS)
async def test_a_real_server_is_supervised(box: Box, tmp_path: Path, kind: str) -> None:
    """llama-server and the example server: ready by their own health path, asked, put back."""
    command, environment, health = peer_servers.template(kind, tmp_path)
    await box.node.register(kind, home_fixtures.WEIGHTS)
    server = {"environment": environment, "health_path": health}
    release = await box.release("ops", command, server=server, model=f"{kind}@1.0.0")
    await box.node.must("services.create", kind, {"release": release})
    async with nodes.opened(box.node.home) as store, store.read() as s:
        instance = f"{(await releases.find(s, release)).deployment}:1"
    parts = await box.node.until(nodes.ready(instance))
    answer = await box.complete(kind)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["text"]
    child = server_of(parts[instance].pid)
    child.kill()
    assert (await box.complete(kind)).status_code == 200


async def _port(box: Box, instance: str) -> int:
    """Where an instance listens, as its shim published it."""
    found = address.read(box.node.home.server(instance))
    assert found is not None
    return found.port
