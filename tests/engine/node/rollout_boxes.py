"""A real node on which a rollout can be started, watched, and given traffic.

Imported by tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from storage import keys, rollouts, services
from storage.home.paths import Home
from storage.rollouts import Rollout
from storage.services import Service
from tests.engine.node import fickle_upstream
from tests.engine.node.fickle_upstream import Fickle
from tests.engine.node.nodes import BOUND_S, RealNode, opened
from tests.home_fixtures import WEIGHTS

Ask = Callable[[], Awaitable[object]] | None


@asynccontextmanager
async def boxed(tmp_path: Path) -> AsyncIterator[tuple[RealNode, Fickle]]:
    """A node that serves `support` on r1, its own worker; r2 is a server that may fail."""
    node = RealNode(tmp_path / "home", PADDOCK_BEAT_S="20")
    node.start()
    try:
        async with fickle_upstream.served() as fickle:
            await node.register("ops", WEIGHTS)
            await node.must("releases.create", "", {"model": "ops"})
            url = f"http://127.0.0.1:{fickle.port}/v1"
            await node.must("upstreams.add", "far", {"url": url})
            far = {"name": "far", "model": "m"}
            await node.must("releases.create", "", {"upstream": far})
            await node.must("services.create", "support", {"release": "r1"})
            yield node, fickle
    finally:
        node.end()


async def seen(home: Home) -> tuple[Rollout, Service]:
    """The newest rollout and the service, in one snapshot."""
    async with opened(home) as store, store.read() as s:
        found = await rollouts.latest(s, "support")
        assert found is not None
        return found, await services.find(s, "support")


async def until(node: RealNode, holds: Callable[[Rollout], bool], meanwhile: Ask = None) -> Rollout:
    """The newest rollout once `holds` is true of it; `meanwhile` is called until then."""
    found = await node.found(
        lambda s: rollouts.latest(s, "support"),
        lambda latest: latest is not None and holds(latest),
        meanwhile=meanwhile,
    )
    assert found is not None
    return found


@asynccontextmanager
async def client(node: RealNode) -> AsyncIterator[Callable[[], Any]]:
    """Asks the service as one new user after the other; the answer, None where it failed."""
    minted = keys.mint()
    key = {"name": "t", "prefix": minted.prefix, "sha256": minted.sha256, "tenant": "t"}
    await node.must("keys.add", "t", key)
    base = f"http://127.0.0.1:{node.environment['PADDOCK_GATEWAY__PORT']}"
    headers = {"authorization": f"Bearer {minted.secret}"}
    turn = {"role": "user", "content": "Where is order 17?"}
    body = {"model": "support", "messages": [turn], "max_tokens": 4}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=BOUND_S) as http:

        async def ask() -> str | None:
            answer = await http.post("/v1/chat/completions", json=body)
            if answer.status_code != 200:
                return None
            return str(answer.json()["choices"][0]["message"]["content"])

        yield ask
