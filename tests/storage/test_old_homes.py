"""A home that an earlier release left opens, and nothing in it gets a new name."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import msgspec

from storage import (
    deployments,
    intents,
    keys,
    knobs,
    ledger,
    models,
    prompts,
    releases,
    requests,
    runs,
    services,
    splits,
)
from storage import store as stores
from storage.store import Session
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
            past = await services.history(s, "support")
            assert [(split.id, split.restores) for split in past] == [
                (5, 2), (4, None), (2, None), (1, None),
            ]  # fmt: skip
            assert past[0].ranges == ((0, 9_000, 1), (9_000, 10_000, 2))
            assert splits.roll_back_target(past) == 2  # it was rolled back: there it stays
            assert (every["support"].owner, every["support"].frozen) == (None, None)
            assert len(await requests.tail(s, 1000)) == 103
            assert len(await intents.tail(s, 1000)) == 20
            asked = {i.idempotency_key for i in await intents.tail(s, 1000) if i.on_behalf_of}
            assert asked == {"run 1, step back"}
            assert len(await ledger.tail(s, 1000)) >= 92
            assert [run.runbook for run in await runs.tail(s, 10)] == ["roll-back"]
    finally:
        await store.close()


async def test_the_deployments_of_first_light_are_its_workers(tmp_path: Path) -> None:
    """With their names, one instance each, and the knobs that were set for them."""
    store = await stores.open(old_homes.first_light(tmp_path / "home"))
    try:
        async with store.read() as s:
            every = await deployments.every(s)
            assert [(each.name, each.replicas) for each in every] == [
                ("ops-1.0.0", 1),
                ("ops-1.0.0-34c5", 1),
            ]
            found = [release.deployment for release in await releases.every(s)]
            assert found == ["ops-1.0.0", "ops-1.0.0", "ops-1.0.0-34c5", "ops-1.0.0"]
            assert every[1].engine == releases.Engine(context_tokens=512, max_sequences=4)
            assert {each.weights for each in every} == {(await models.get(s, 1)).sha256}
            assert await knobs.of(s, "ops-1.0.0") == {"max_running": 8}
    finally:
        await store.close()


async def test_the_same_content_is_still_the_release_of_first_light(tmp_path: Path) -> None:
    """Each of its releases, created again, is found; other sampling shares its deployment."""
    store = await stores.open(old_homes.first_light(tmp_path / "home"))

    async def again(s: Session) -> list[tuple[str, str]]:
        made = []
        for old in await releases.every(s):
            assert old.model_version_id is not None
            version = await models.get(s, old.model_version_id)
            base = None if version.base_id is None else await models.get(s, version.base_id)
            prompt = old.prompt_version_id
            for sampling in (old.sampling, msgspec.structs.replace(old.sampling, seed=9)):
                release = await releases.create(
                    s, model_version=version, base=base,
                    prompt_version=None if prompt is None else await prompts.get(s, prompt),
                    sampling=sampling, limits=old.limits, engine=old.engine,
                    comment="", actor="t", at_us=1,
                )  # fmt: skip
                made.append((release.name, release.deployment))
        return made

    try:
        assert await store.write(again) == [
            ("r1", "ops-1.0.0"), ("r5", "ops-1.0.0"),
            ("r2", "ops-1.0.0"), ("r6", "ops-1.0.0"),
            ("r3", "ops-1.0.0-34c5"), ("r7", "ops-1.0.0-34c5"),
            ("r4", "ops-1.0.0"), ("r8", "ops-1.0.0"),
        ]  # fmt: skip
    finally:
        await store.close()


async def test_the_keys_of_first_light_open_as_before(tmp_path: Path) -> None:
    """Their hashes are wrapped with the pepper, in the intents that created them, too."""
    home = old_homes.first_light(tmp_path / "home")
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        (plain,) = database.execute("SELECT sha256 FROM keys WHERE name = 'old'").fetchone()
        query = "SELECT count(*) FROM intents WHERE instr(arguments, ?)"
        assert database.execute(query, (plain,)).fetchone() != (0,)
    store = await stores.open(home)
    try:
        async with store.read() as s:
            assert {mac: key.name for mac, key in (await keys.active(s)).items()} == {
                (await keys.seal(s, plain)): "old"
            }
            created = [each for each in await intents.tail(s, 1000) if each.verb == "keys.add"]
            assert created
            assert all("sha256" not in each.arguments for each in created)
            assert (await keys.seal(s, plain)) in {each.arguments["mac"] for each in created}
    finally:
        await store.close()
