"""Fifty switches and fifty undos under streaming load, run by `make soak`.

Every answer is whole and comes from one release, the one that its header names.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Final

import httpx
import pytest

from storage import keys
from storage.rollouts import State
from tests.engine.node import fickle_upstream
from tests.engine.node.fickle_upstream import PIECES
from tests.engine.node.nodes import BOUND_S, RealNode
from tests.engine.node.rollout_boxes import seen, until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

SWITCHES: Final = int(os.environ.get("PADDOCK_SWITCHES", "50"))
CLIENTS: Final = 4
WORDS: Final = {"r1": "blue ", "r2": "green "}
STEPS: Final = [{"type": "set_weight", "weight_bp": 10_000}, {"type": "pause"}]


async def stream(http: httpx.AsyncClient, told: Counter[str], stop: asyncio.Event) -> None:
    """Ask again and again, and hold each answer against the release that its header names."""
    turn = {"role": "user", "content": "Which are you?"}
    body = {"model": "support", "messages": [turn], "max_tokens": 64, "stream": True}
    while not stop.is_set():
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = [line async for line in answer.aiter_lines() if line.startswith("data: {")]
        told["asked"] += 1
        if answer.status_code != 200:
            told["failed"] += 1
            continue
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
        text = "".join(
            choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
        )
        release = answer.headers["x-paddock-release"]
        told[release] += 1
        told["mixed"] += text != WORDS[release] * PIECES


async def test_no_answer_is_lost_or_mixed_by_fifty_switches_and_fifty_undos(
    tmp_path: Path,
) -> None:
    """Each undo is applied once though two people ask for it."""
    node = RealNode(tmp_path / "home", PADDOCK_BEAT_S="20")
    node.start()
    told: Counter[str] = Counter()
    try:
        async with (
            fickle_upstream.served(WORDS["r1"]) as blue,
            fickle_upstream.served(WORDS["r2"]) as green,
        ):
            for name, server in (("blue", blue), ("green", green)):
                url = f"http://127.0.0.1:{server.port}/v1"
                await node.must("upstreams.add", name, {"url": url})
                upstream = {"name": name, "model": "m"}
                await node.must("releases.create", "", {"upstream": upstream})
            await node.must("services.create", "support", {"release": "r1"})
            minted = keys.mint()
            key = {"name": "t", "prefix": minted.prefix, "sha256": minted.sha256, "tenant": "t"}
            await node.must("keys.add", "t", key)
            base = f"http://127.0.0.1:{node.environment['PADDOCK_GATEWAY__PORT']}"
            headers = {"authorization": f"Bearer {minted.secret}"}
            stop = asyncio.Event()
            async with (
                httpx.AsyncClient(base_url=base, headers=headers, timeout=BOUND_S) as http,
                asyncio.TaskGroup() as clients,
            ):
                for _ in range(CLIENTS):
                    clients.create_task(stream(http, told, stop))
                for _ in range(SWITCHES):
                    await switch_and_undo(node, http)
                stop.set()
    finally:
        node.end()
    assert (told["failed"], told["mixed"]) == (0, 0), told
    assert told["r1"] > SWITCHES
    assert told["r2"] > SWITCHES


async def asked(http: httpx.AsyncClient) -> str:
    """The release that answers a request."""
    body = {"model": "support", "messages": [{"role": "user", "content": "Q"}], "max_tokens": 1}
    answer = await http.post("/v1/chat/completions", json=body)
    return answer.headers["x-paddock-release"]


async def switch_and_undo(node: RealNode, http: httpx.AsyncClient) -> None:
    """To r2 by a rollout that a person promotes, and back to r1, asked for by two at once.

    The next request is answered by the release that the service was switched to.
    """
    start = {"release": "r2", "strategy": "blue_green", "steps": STEPS}
    await node.must("rollouts.start", "support", start)
    rollout = await until(node, lambda each: each.state is State.PAUSED)
    await node.must("rollouts.promote", "support", {"rollout": rollout.id})
    assert await asked(http) == "r2"
    _, service = await seen(node.home)
    back = {"rollout": rollout.id}
    await asyncio.gather(
        node.must("rollouts.undo", "support", back), node.must("rollouts.undo", "support", back)
    )
    assert await asked(http) == "r1"
    undone, after = await seen(node.home)
    assert undone.state is State.UNDONE
    assert {arm.release: arm.weight_bp for arm in after.split.arms} == {1: 10_000, 2: 0}
    assert after.version == service.version + 1
