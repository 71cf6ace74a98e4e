"""Rollouts on a real node that is killed: no kill loses the way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from storage import rollout_events, rollout_steps
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
from tests.engine.node.nodes import RealNode, opened
from tests.engine.node.rollout_boxes import Ask, boxed, client, seen, until
from tests.engine.webhooks import hooks
from tests.engine.webhooks.hooks import YES

WHOLE: Final[list[dict[str, Any]]] = [{"type": "set_weight", "weight_bp": 10_000}]
ASKING: Final[list[dict[str, Any]]] = [
    {"type": "set_weight", "weight_bp": 5_000}, {"type": "pause"}, *WHOLE, {"type": "pause"},
]  # fmt: skip


def check_legal(rollout: Rollout, service: Service) -> None:
    """The traffic is on one of the splits that the rollout may set: the one its row names."""
    weights = {arm.release: arm.weight_bp for arm in service.split.arms}
    assert weights.get(2, 0) == rollout.weight_bp
    assert weights.get(1, 0) == 10_000 - rollout.weight_bp
    assert service.split.id == rollout.split_id


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
