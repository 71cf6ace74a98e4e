"""Shadows on a real node: copies reach the candidate, and no user or figure of theirs does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import psutil

from storage import requests, rollouts, shadow_comparisons
from storage.home.paths import Home
from storage.requests import Class, Outcome, Request
from storage.rollouts import Phase, Rollout, State, Why
from storage.shadow_comparisons import Comparison
from tests.engine.node.fickle_upstream import ANSWER
from tests.engine.node.nodes import opened, ready
from tests.engine.node.rollout_boxes import boxed, client, until

STEPS: Final[list[dict[str, Any]]] = [
    {"type": "mirror", "share_bp": 10_000, "at_least": 16},
    {"type": "pause"},
    {"type": "set_weight", "weight_bp": 10_000},
    {"type": "pause"},
]
SHADOW: Final = {
    "release": "r2",
    "strategy": "shadow",
    "steps": STEPS,
    "guards": [{"measure": "error_rate", "allowed_bp": 2000}],
}


async def recorded(home: Home) -> list[Request]:
    """All requests, oldest first."""
    async with opened(home) as store, store.read() as s:
        return (await requests.tail(s, 1000))[::-1]


async def compared(home: Home, rollout: Rollout) -> list[Comparison]:
    """The comparisons of a rollout."""
    async with opened(home) as store, store.read() as s:
        return await shadow_comparisons.tail(s, rollout.id, rollout.attempt)


async def test_copies_reach_the_candidate_and_users_and_their_records_are_untouched(
    tmp_path: Path,
) -> None:
    """The shadow passes by copies alone; stable answered every user, and has every record."""
    async with boxed(tmp_path) as (node, fickle), client(node) as ask:
        await node.must("rollouts.start", "support", SHADOW)
        await until(node, lambda each: each.mirror is not None)
        answers = []

        async def user() -> None:
            answers.append(await ask())

        passed = await until(node, lambda each: each.state is State.PAUSED, user)
        assert (passed.step, passed.weight_bp, passed.exposed_at_us) == (1, 0, None)
        assert None not in answers
        assert ANSWER not in answers
        rows = await compared(node.home, passed)
        assert len(rows) >= 16
        assert fickle.asked >= len(rows) + 3  # the smoke requests
        node.stop()
        kept = {each.id: each for each in await recorded(node.home)}
        users = [each for each in kept.values() if each.service == "support"]
        assert len(users) == len(answers)
        assert {each.release for each in users} == {1}
        assert {each.tenant for each in users} == {"t"}
        copies = [each for each in kept.values() if each.service == "(shadow)"]
        assert {(each.release, each.tenant, each.class_, each.key_id) for each in copies} == {
            (2, "paddock", Class.BACKGROUND, 0)
        }
        for row in rows:
            assert kept[row.request_id].service == "support"
            assert kept[row.copy_id].outcome is Outcome.OK
            assert row.error_code is None
            assert row.logprob is None  # this server does not score
            assert row.stable_us <= kept[row.request_id].latency_us


async def test_a_candidate_that_errs_ends_its_shadow_and_no_user_notices(tmp_path: Path) -> None:
    """It passes its smoke requests, then errs on copies: every user has stable's answer."""
    async with boxed(tmp_path) as (node, fickle), client(node) as ask:
        await node.must("rollouts.start", "support", SHADOW)
        await until(node, lambda each: each.mirror is not None)
        fickle.failing = True
        answers = []

        async def user() -> None:
            answers.append(await ask())

        ended = await until(node, lambda each: each.phase is Phase.DEGRADED, user)
        assert (ended.why, ended.exposed_at_us, ended.impact) == (Why.HARM, None, None)
        assert None not in answers
        rows = await compared(node.home, ended)
        assert all(row.error_code is not None for row in rows)
        node.stop()
        users = [each for each in await recorded(node.home) if each.service == "support"]
        assert {each.outcome for each in users} == {Outcome.OK}


async def test_a_killed_gateway_loses_copies_and_nothing_else(tmp_path: Path) -> None:
    """Comparisons are whole or missing, no kill counts against the candidate, and it continues."""
    async with boxed(tmp_path) as (node, _), client(node) as ask:
        await node.must("rollouts.start", "support", SHADOW)
        await until(node, lambda each: each.mirror is not None)
        answers = [await ask() for _ in range(6)]
        processes = await node.until(ready("gateway"))
        pid = processes["gateway"].pid
        assert pid is not None
        psutil.Process(pid).kill()
        await node.until(lambda each: ready("gateway")(each) and each["gateway"].pid != pid)
        passed = await until(node, lambda each: each.state is State.PAUSED, ask)
        assert passed.step == 1
        rows = await compared(node.home, passed)
        assert [row.error_code for row in rows] == [None] * len(rows)
        assert len({row.request_id for row in rows}) == len(rows)
        assert None not in answers
        async with opened(node.home) as store, store.read() as s:
            newest = await rollouts.latest(s, "support")
        assert newest is not None
        assert newest.weight_bp == 0
