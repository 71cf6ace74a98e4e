"""A box to attack: two releases on one set of weights, hostile templates, two tenants."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from storage import keys
from tests import home_fixtures
from tests.acceptance.attacks import templates, upstreams, weights
from tests.acceptance.attacks.attack import Target
from tests.engine.node.nodes import BOUND_S, RealNode
from tests.engine.serving import tiny_gguf
from tests.home_fixtures import ADAPTER, WEIGHTS

ENGINE: Final = {"context_tokens": 512, "max_sequences": 8, "threads": 1}


@asynccontextmanager
async def attacked(root: Path) -> AsyncIterator[tuple[RealNode, Target, str]]:
    """A running node, the target that attackers get, and another client's key."""
    node = RealNode(root)
    if (task := asyncio.current_task()) is not None:  # SIGTERM ends the node, too
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    node.start()
    try:
        await _furnish(node, root.parent)
        keyed = {tenant: await _key(node, tenant) for tenant in ("attacker", "victim")}
        port = int(node.environment["PADDOCK_GATEWAY__PORT"])
        await _ready(port)
        upstream = await _register(node)
        target = Target(port, keyed["attacker"], str(root), node.pid, upstream)
        yield node, target, keyed["victim"]
    finally:
        await asyncio.to_thread(node.end)


async def _furnish(node: RealNode, folder: Path) -> None:
    base = {"model": "ops", "version": "1.0.0", "path": str(WEIGHTS)}
    adapter = {"model": "ops", "version": "1.1.0", "path": str(ADAPTER)}
    await node.must("models.add", "ops", base)
    await node.must("models.add", "ops", adapter | {"base": "ops@1.0.0", "kind": "adapter"})
    for service, version in (("ops", "1.0.0"), ("concise", "1.1.0")):
        said = await node.must("releases.create", "", {"model": f"ops@{version}", "engine": ENGINE})
        await node.must("services.create", service, {"release": said.split()[0]})
    fragile = weights.file(node.home.root)
    shutil.copy(WEIGHTS, fragile)
    release = await node.release(weights.SERVICE, fragile)
    await node.must("services.create", weights.SERVICE, {"release": release})
    for name in templates.SERVICES:
        path = folder / f"{name}.gguf"
        tokens = [(letter, tiny_gguf.NORMAL) for letter in tiny_gguf.LETTERS]
        template = templates.chat_template(name)
        tiny_gguf.chain(
            path, [*tokens, ("<|end|>", tiny_gguf.CONTROL)],
            follows={}, eos=len(tokens), template=template,
        )  # fmt: skip
        release = await node.release(name, path)
        await node.must("services.create", name, {"release": release})


async def _register(node: RealNode) -> int:
    """A service that an upstream answers for, which attackers are; the upstream's port."""
    port = home_fixtures.free_port()
    url = f"http://127.0.0.1:{port}/v1"
    await node.must("upstreams.add", upstreams.SERVICE, {"url": url})
    remote = {"upstream": {"name": upstreams.SERVICE, "model": "any"}}
    said = await node.must("releases.create", "", remote)
    await node.must("services.create", upstreams.SERVICE, {"release": said.split()[0]})
    return port


async def _key(node: RealNode, tenant: str) -> str:
    minted = keys.mint()
    key = {"name": tenant, "prefix": minted.prefix, "sha256": minted.sha256, "role": "client"}
    await node.must("keys.add", tenant, {**key, "tenant": tenant})
    return minted.secret


async def _ready(port: int) -> None:
    async with asyncio.timeout(BOUND_S), httpx.AsyncClient() as client:
        while True:
            answer = await client.get(f"http://127.0.0.1:{port}/readyz")
            if answer.status_code == httpx.codes.OK and not answer.json()["reasons"]:
                return
            await asyncio.sleep(0.05)
