"""Rollouts on a real node that is killed: no kill loses the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from storage import keys, rollout_events, rollout_steps, rollouts, services
from storage.control_socket import nudges
from storage.home.paths import Home
from storage.rollout_guards import Guard, Measure
from storage.rollout_steps import (
    DEFAULTS,
    Analysis,
    Mirror,
    Pause,
    SetWeight,
    Step,
    Strategy,
    Webhook,
)
from storage.rollouts import Rollout, State, Why
from storage.services import Service
from tests.engine.node import fickle_upstream
from tests.engine.node.fickle_upstream import Fickle
from tests.engine.node.nodes import BOUND_S, RealNode, opened
from tests.engine.webhooks import hooks
from tests.engine.webhooks.hooks import YES
from tests.home_fixtures import WEIGHTS

Ask = Callable[[], Awaitable[object]] | None

WHOLE: Final[list[dict[str, Any]]] = [{"type": "set_weight", "weight_bp": 10_000}]
ASKING: Final[list[dict[str, Any]]] = [
    {"type": "set_weight", "weight_bp": 5_000}, {"type": "pause"}, *WHOLE, {"type": "pause"},
]  # fmt: skip


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
    """The newest rollout once something is true of it; `meanwhile` is done again and again."""
    async with asyncio.timeout(2 * BOUND_S), opened(node.home) as store:
        with nudges.listen(node.home, f"test-{os.getpid()}") as listener:
            while True:
                async with store.read() as s:
                    found = await rollouts.latest(s, "support")
                if found is not None and holds(found):
                    return found
                if meanwhile is None:
                    await listener.wait(timeout_s=0.25)
                else:
                    await meanwhile()
                    await listener.wait(timeout_s=0.02)


def check_legal(rollout: Rollout, service: Service) -> None:
    """The traffic is on one of the splits that the rollout may set: the one its row names."""
    weights = {arm.release: arm.weight_bp for arm in service.split.arms}
    assert weights.get(2, 0) == rollout.weight_bp
    assert weights.get(1, 0) == 10_000 - rollout.weight_bp
    assert service.split.id == rollout.split_id


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


async def walk(node: RealNode, start: dict[str, Any], kills: int | None, ask: Ask) -> list[Why]:
    """Kill the node each time the rollout moves (`kills` times), start it again, lead it on."""
    await node.must("rollouts.start", "support", start)
    version, killed = 0, 0
    while True:
        rollout = await until(node, _after(version), ask)
        if kills is None or killed < kills:
            node.kill()
            killed += 1
            check_legal(*await seen(node.home))
            node.start()
        rollout, service = await seen(node.home)
        check_legal(rollout, service)
        version = rollout.version
        if rollout.state is State.COMPLETED:
            break
        if rollout.state is State.PAUSED:
            await node.must("rollouts.promote", "support", {"rollout": rollout.id})
    async with opened(node.home) as store, store.read() as s:
        return [event.why for event in await rollout_events.of(s, rollout.id)]


def _after(version: int) -> Callable[[Rollout], bool]:
    return lambda rollout: rollout.version > version


@pytest.mark.soak
async def test_a_node_killed_during_a_rollout_goes_on_where_it_was(tmp_path: Path) -> None:
    """Killed at its first three moves: on a legal split each time, and nothing happens twice."""
    async with boxed(tmp_path) as (node, _):
        start = {"release": "r2", "steps": ASKING}
        assert await walk(node, start, kills=3, ask=None) == [
            Why.STARTED, Why.LOADED, Why.SMOKED, Why.NEXT, Why.ASKED, Why.PROMOTED, Why.NEXT,
            Why.ASKED, Why.PROMOTED,
        ]  # fmt: skip


LEADS: Final[dict[type[Step], Why]] = {
    SetWeight: Why.NEXT, Analysis: Why.PASSED, Mirror: Why.PASSED, Webhook: Why.AGREED,
}  # fmt: skip
"""Why a rollout leads on from a step."""
LOOSE: Final = Guard(measure=Measure.ERROR_RATE, allowed_bp=5_000)  # five requests show it to hold


def brief(step: Step) -> Step:
    """A default step that takes seconds."""
    match step:
        case Pause(int()):
            return Pause(1)
        case Mirror():
            return Mirror(share_bp=10_000, at_least=3)
        case _:
            return step


def whys(steps: Sequence[Step]) -> list[Why]:
    """The reasons of the moves of a rollout that a person promotes where it asks."""
    found = [Why.STARTED, Why.LOADED, Why.SMOKED]
    for step in steps:
        if isinstance(step, Pause):
            found += [Why.ASKED, Why.PROMOTED] if step.duration_s is None else [Why.WAITED]
        else:
            found.append(LEADS[type(step)])
    return found


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("strategy", Strategy)
async def test_a_node_killed_at_every_move_of_a_default_strategy_goes_on_where_it_was(
    tmp_path: Path, strategy: Strategy
) -> None:
    """The same moves as without a kill, under requests, with a question before each weight."""
    async with hooks.served(YES) as hook, boxed(tmp_path) as (node, _), client(node) as ask:
        default = [brief(step) for step in DEFAULTS[strategy]]
        steps = rollout_steps.with_webhooks(default, before=Webhook(hook.url))
        start = {
            "release": "r2", "strategy": strategy.value, "steps": msgspec.to_builtins(steps),
            "guards": msgspec.to_builtins([LOOSE]),
        }  # fmt: skip

        async def asked() -> None:
            with contextlib.suppress(httpx.HTTPError):
                await ask()

        assert await walk(node, start, kills=None, ask=asked) == whys(steps)
        asked_at = [at for at, step in enumerate(steps, 1) if isinstance(step, Webhook)]
        assert sorted(set(hook.ids)) == sorted(f"rollout-1-attempt-1-step-{at}" for at in asked_at)
        assert len({request.raw for request in hook.requests}) == len(asked_at)
