"""Every table of the schema is bounded, or kept for good for a reason."""

from __future__ import annotations

import contextlib
import sqlite3

from sqlalchemy import insert

from engine.control import retained
from engine.control.retained import DAY_US, POLICIES, Pruned, With
from storage import rollout_looks, silences
from storage.home.config import Retention
from storage.rollout_looks import LookRow
from storage.rollout_rows import RolloutRow
from storage.rollout_states import State, Why
from storage.rollout_steps import Strategy
from storage.silences import SilenceRow
from storage.store import Session, Store
from tests.storage import fixtures

NOW_US = 1_800_000_000_000_000
LONG_US = NOW_US - 31 * DAY_US


async def _pruned(store: Store, table: str) -> int:
    """How many rows of a table retention deletes now."""
    policy = POLICIES[table]
    assert isinstance(policy, Pruned)
    (prune,) = policy.by
    gone = 0
    while some := await store.write(lambda s: prune(s, NOW_US, Retention())):
        gone += some
    return gone


async def test_every_table_has_a_policy(store: Store) -> None:
    """A table that is new needs one in `engine.control.retained`, and one that is gone loses it."""
    with contextlib.closing(sqlite3.connect(store.home.database)) as file:
        tables = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert {name for (name,) in tables} == set(POLICIES)


def test_what_goes_with_another_table_goes_with_one_that_is_pruned() -> None:
    """Otherwise nothing deletes it."""
    beside = [policy.table for policy in POLICIES.values() if isinstance(policy, With)]
    assert [table for table in beside if not isinstance(POLICIES[table], Pruned)] == []


def test_nothing_is_pruned_before_what_refers_to_it() -> None:
    """Texts and scores go before their requests, and jobs before the replays that they are of."""
    order = [*POLICIES]
    for first, then in (("request_texts", "request_rows"),
                        ("online_scores", "request_rows"), ("jobs", "replays")):  # fmt: skip
        assert order.index(first) < order.index(then)
    assert len([*retained.prunes()]) > len(order) / 5


async def test_a_canary_of_weeks_keeps_its_newest_looks(store: Store) -> None:
    """And the last look at each guard, however old it is."""

    async def work(s: Session) -> None:
        await s.execute(insert(RolloutRow).values(_rollout()))
        rare = _look("rare", LONG_US)
        many = [_look("errors", LONG_US + at) for at in range(5)]
        many += [_look("errors", NOW_US + at) for at in range(rollout_looks.KEPT + 7)]
        await s.execute(insert(LookRow), [rare, *many])

    await fixtures.furnish(store)
    await store.write(work)
    assert await _pruned(store, "rollout_looks") == 5 + 7
    async with store.read() as s:
        left = await rollout_looks.of(s, 1, limit=2 * rollout_looks.KEPT)
    assert [look.at_us for look in left if look.guard == "rare"] == [LONG_US]
    assert left[-1].at_us == NOW_US + rollout_looks.KEPT + 6


async def test_silences_go_a_month_after_their_end(store: Store) -> None:
    """One that lasts stays, however long ago it began."""

    async def work(s: Session) -> None:
        await s.execute(
            insert(SilenceRow),
            [_silence(LONG_US, None), _silence(NOW_US, LONG_US), _silence(NOW_US + 1, None)],
        )

    await store.write(work)
    assert await _pruned(store, "silences") == 2
    async with store.read() as s:
        (left,) = await silences.past(s)
    assert left.ends_at_us == NOW_US + 1


def _look(guard: str, at_us: int) -> dict[str, object]:
    return {
        "rollout_id": 1, "attempt": 1, "step": 0, "at_us": at_us, "guard": guard, "n": 1,
        "events": 0, "harm_e": 1.0, "safety_e": 1.0, "low": 0.0, "high": 1.0, "needed": None,
        "verdict": rollout_looks.Verdict.RUNNING.value, "sentence": "",
    }  # fmt: skip


def _silence(ends_at_us: int, ended_at_us: int | None) -> dict[str, object]:
    return {
        "matchers": '["service=support"]', "starts_at_us": 1, "ends_at_us": ends_at_us,
        "comment": "upgrade", "maintenance": None, "created_at_us": 1, "created_by": "sara",
        "ended_at_us": ended_at_us,
    }  # fmt: skip


def _rollout() -> dict[str, object]:
    return {
        "id": 1, "service": "support", "revision": 1, "strategy": Strategy.CANARY.value,
        "stable": 1, "candidate": 2, "steps": "[]", "guards": "[]", "load_timeout_s": 1,
        "rollback_window_s": 1, "state": State.STEPPING.value, "why": next(iter(Why)).value,
        "sentence": "", "version": 1, "attempt": 1, "weight_bp": 0, "notify": "[]",
        "evidence": "{}", "began_at_us": 1, "started_at_us": 1, "started_by": "sara",
        "moved_at_us": 1,
    }  # fmt: skip
