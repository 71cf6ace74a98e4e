"""A home that an earlier release left opens, and nothing in it gets a new name."""

from __future__ import annotations

from pathlib import Path

from storage import intents, ledger, models, releases, requests, runs, services
from storage import store as stores
from tests import old_homes


async def test_a_home_of_first_light_opens_with_its_history(tmp_path: Path) -> None:
    """Models, releases, splits, requests, intents, runs and the ledger are what they were."""
    store = await stores.open(old_homes.first_light(tmp_path / "home"))
    try:
        async with store.read() as s:
            assert [f"{m.name}" for m in await models.every(s)] == ["ops@1.0.0", "ops@1.1.0"]
            found = await releases.every(s)
            assert [release.name for release in found] == ["r1", "r2", "r3", "r4"]
            every = {service.name: service for service in await services.every(s)}
            arms = {n: {a.release: a.weight_bp for a in e.split.arms} for n, e in every.items()}
            assert arms == {"billing": {3: 10_000}, "support": {1: 9_000, 2: 1_000}}
            assert len(await requests.tail(s, 1000)) == 103
            assert len(await intents.tail(s, 1000)) == 20
            assert len(await ledger.tail(s, 1000)) >= 92
            assert [run.runbook for run in await runs.tail(s, 10)] == ["roll-back"]
    finally:
        await store.close()
