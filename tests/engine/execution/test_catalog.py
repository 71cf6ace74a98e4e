"""The gateway's view of keys, which it may lose and find again, and of the splits in force."""

from __future__ import annotations

from typing import Any, cast

import pytest

from engine.execution import failures, snapshot_reads
from engine.execution.catalog import Catalog
from engine.execution.snapshot import Snapshot
from storage import keys, models, releases, retired_releases, services
from storage.releases import Engine, Limits, Sampling
from storage.services import Arm
from storage.store import Session, Store
from tests import home_fixtures


async def catalog(store: Store) -> Catalog:
    """A catalog that has read the store; no prompt is rendered here."""
    made = Catalog(store, cast("Any", None), on_change=lambda _: None)
    await made.refresh()
    return made


async def test_a_key_is_found_by_its_secret_alone(store: Store) -> None:
    """Not by its hash, nor by what is stored of it."""
    secret = await store.write(lambda s: home_fixtures.add_key(s, "sara"))
    found = await catalog(store)
    key = await found.key(secret)
    assert key is not None
    assert key.name == "sara"
    (mac,) = found.snapshot.keys
    for other in (keys.digest(secret), mac, secret[:-1], ""):
        assert await found.key(other) is None


async def test_a_gateway_that_lost_its_pepper_serves_from_memory(store: Store) -> None:
    """One that starts without it refuses with a word, and checks keys once it is back."""
    secret = await store.write(lambda s: home_fixtures.add_key(s, "sara"))
    running = await catalog(store)
    path = store.home.secrets / "pepper"
    away = path.rename(path.with_name("elsewhere"))
    await running.refresh()
    assert await running.key(secret) is not None
    assert "is missing" in (running.locked or "")

    started = await catalog(store)
    assert not started.checks_keys
    with pytest.raises(failures.Unavailable) as caught:
        await started.key(secret)
    assert caught.value.code == "keys_unavailable"
    away.rename(path)
    await started.look()
    assert await started.key(secret) is not None
    assert started.locked is None

    await store.write(lambda s: keys.reset(s, actor="sara", at_us=3))
    for each in (running, started):
        await each.refresh()
        assert await each.key(secret) is None


async def serve(s: Session) -> None:
    """Releases r1, r2 and r3; `support` has all of its traffic on r1 and r2 beside it."""
    await home_fixtures.add_model(s, home_fixtures.WEIGHTS)
    for top_k in (1, 2, 3):
        await releases.create(
            s, model_version=await models.find(s, "ops"), prompt_version=None,
            sampling=Sampling(top_k=top_k), limits=Limits(), engine=Engine(),
            comment="", actor="t", at_us=1,
        )  # fmt: skip
    await services.create(s, name="support", release=1, record_text=False, actor="t", at_us=1)
    await switch(s, {1: 10_000, 2: 0})


async def switch(s: Session, weights: dict[int, int]) -> None:
    """Set the split of `support`."""
    arms = [Arm(release=number, weight_bp=weight) for number, weight in weights.items()]
    await services.set_split(
        s, service="support", arms=arms, expected_version=None, actor="t", at_us=2
    )


async def answers(found: Catalog) -> int:
    """The release that answers the next request for `support`."""
    service = await found.service("support")
    (number,) = (arm.release for arm in service.split.arms if arm.weight_bp)
    return number


async def test_the_request_after_a_switch_is_routed_by_it_though_no_nudge_came(
    store: Store,
) -> None:
    """The snapshot has the new split from then on, with all else that is known of the service."""
    await store.write(serve)
    found = await catalog(store)
    before = found.snapshot
    assert await answers(found) == 1
    assert found.snapshot is before
    await store.write(lambda s: switch(s, {1: 0, 2: 10_000}), nudge=False)
    assert await answers(found) == 2
    async with store.read() as s:
        assert found.snapshot.services["support"] == await services.find(s, "support")
    assert found.snapshot.releases == before.releases


async def test_a_retired_release_is_not_answered_by_though_it_is_named(store: Store) -> None:
    """An operator's request for it is refused with how to bring it back, and then answered."""
    await store.write(serve)
    found = await catalog(store)
    async with store.read() as s:
        release = await releases.get(s, 3)
    told: dict[str, Any] = {"actor": "kim", "at_us": 3, "intent_id": None}
    await store.write(lambda s: retired_releases.add(s, release, reason="old", **told))
    await found.look()
    with pytest.raises(failures.Unknown, match="`paddock releases unretire r3` brings it back"):
        await found.release("r3")
    await store.write(lambda s: retired_releases.remove(s, release, **told))
    await found.look()
    assert await found.release("r3") == release
    async with store.read() as s:
        assert (await snapshot_reads.whole(s, found._renderer, Snapshot())).retired == frozenset()


async def test_a_read_that_began_before_a_switch_does_not_take_it_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has met the new split while the whole snapshot was being read."""
    await store.write(serve)
    found = await catalog(store)
    await store.write(lambda s: home_fixtures.add_key(s, "sara"), nudge=False)
    after = snapshot_reads.after

    async def slow(*given: Any) -> Snapshot:
        read = await after(*given)
        await store.write(lambda s: switch(s, {1: 0, 2: 10_000}), nudge=False)
        assert await answers(found) == 2
        return read

    with monkeypatch.context() as patched:
        patched.setattr(snapshot_reads, "after", slow)
        await found.look()
    assert len(found.snapshot.keys) == 1
    assert found.snapshot.services["support"].split.arms[1].weight_bp == 10_000
    await store.write(lambda s: switch(s, {1: 10_000, 2: 0}), nudge=False)
    await found.look()
    assert await answers(found) == 1


async def test_a_switch_to_a_release_that_is_not_resident_waits_for_the_look(store: Store) -> None:
    """The look has it loaded; until then the release that is loaded answers."""
    await store.write(serve)
    found = await catalog(store)
    await store.write(lambda s: switch(s, {3: 10_000}), nudge=False)
    assert await answers(found) == 1
    await found.look()
    assert await answers(found) == 3


async def test_a_request_uses_the_last_split_while_the_store_cannot_be_read(store: Store) -> None:
    """It is not refused."""
    await store.write(serve)
    found = await catalog(store)
    await store.close()
    assert await answers(found) == 1
