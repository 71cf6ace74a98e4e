"""What the gateway asks of its workers, and when it says that waiting does not help."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.backends.fleet import Fleet
from engine.execution import failures
from engine.execution.snapshot import Snapshot
from engine.metering.windows import Windows
from engine.prompting.renderer.pool import Renderer
from engine.serving import wire
from storage import store as stores
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.models import Status
from tests.engine.backends.fake_worker import FakeWorker
from tests.engine.backends.test_worker_client import order
from tests.engine.serving.workers import Heard
from tests.storage import fixtures


async def test_going_back_to_a_worker_that_still_answers_takes_effect_at_once(
    tmp_path: Path,
) -> None:
    """It speaks to one client at a time: a second one would wait until the last stream is over."""
    home = homes.make(Home(tmp_path / "home"))
    store = await stores.open(home)
    made = await fixtures.furnish(store)
    await store.close()
    snapshot = Snapshot(
        services={"support": made.service},
        releases={made.stable.number: made.stable},
        models={made.weights.id: made.weights},
    )
    worker = FakeWorker(home.worker(f"{made.stable.deployment}:1"), deaf=True)
    await worker.start()
    fleet = Fleet(home, Windows(), Renderer(), now_us=clock.monotonic_us)
    try:
        fleet.follow(snapshot)
        before = fleet.pools[made.stable.deployment]
        (instance,) = before.instances.values()
        await before.introduced(20)
        before.submit(order(), Heard())
        fleet.follow(Snapshot())
        assert fleet.pools == {}
        assert [each for _, each in fleet.instances()] == [instance]  # sampled while it computes
        assert fleet.unready(made.stable) is not None
        fleet.follow(snapshot)
        assert fleet.pools == {made.stable.deployment: before}
        assert list(fleet.instances()) == [(made.stable.deployment, instance)]
        assert fleet.unready(made.stable) is None
    finally:
        await fleet.close()
        await worker.stop()


async def test_an_adapter_that_kills_workers_is_not_opened_and_its_base_serves_on(
    tmp_path: Path,
) -> None:
    """Nor does a verdict about weights count against a worker that has them in memory."""
    home = homes.make(Home(tmp_path / "home"))
    store = await stores.open(home)
    made = await fixtures.furnish(store)
    await store.close()

    def marked(version: Any) -> Any:
        return msgspec.structs.replace(version, status=Status.UNLOADABLE, status_reason="x")

    adapted = msgspec.structs.replace(
        made.stable, number=9, model_version_id=made.adapter.id, adapter=made.adapter.sha256[:16]
    )
    arms = (
        *made.service.split.arms,
        msgspec.structs.replace(made.service.split.arms[0], release=9),
    )
    split = msgspec.structs.replace(made.service.split, arms=arms)
    snapshot = Snapshot(
        services={"support": msgspec.structs.replace(made.service, split=split)},
        releases={made.stable.number: made.stable, 9: adapted},
        models={made.weights.id: made.weights, made.adapter.id: marked(made.adapter)},
    )
    worker = FakeWorker(home.worker(f"{made.stable.deployment}:1"))
    await worker.start()
    fleet = Fleet(home, Windows(), Renderer(), now_us=clock.monotonic_us)
    try:
        fleet.follow(snapshot)
        await fleet.pools[made.stable.deployment].introduced(20)
        assert fleet.unready(made.stable) is None
        assert "cannot be loaded" in (fleet.hopeless(adapted) or "")
        await worker.got(wire.SetKnobs)
        assert not [item for item in worker.received if isinstance(item, wire.LoadAdapter)]
        gone = {**snapshot.models, made.weights.id: marked(made.weights)}
        fleet.follow(replace(snapshot, models=gone))
        assert fleet.unready(made.stable) is None
        fleet.follow(replace(snapshot, models={**gone, made.adapter.id: made.adapter}))
        await worker.got(wire.LoadAdapter)
    finally:
        await fleet.close()
        await worker.stop()


async def test_what_waits_is_refused_as_soon_as_a_verdict_makes_waiting_vain(
    tmp_path: Path,
) -> None:
    """Both what waits for a first instance and what an instance lost; with the verdict's reason."""
    home = homes.make(Home(tmp_path / "home"))
    store = await stores.open(home)
    made = await fixtures.furnish(store)
    await store.close()
    snapshot = Snapshot(
        services={"support": made.service},
        releases={made.stable.number: made.stable},
        models={made.weights.id: made.weights},
    )
    torn = msgspec.structs.replace(made.weights, status=Status.UNLOADABLE, status_reason="torn")
    fleet = Fleet(home, Windows(), Renderer(), now_us=clock.monotonic_us)
    try:
        fleet.follow(snapshot)
        pool = fleet.pools[made.stable.deployment]
        held = Heard()
        pool.submit(order(), held)
        first = asyncio.create_task(pool.introduced(60))
        await asyncio.sleep(0)  # it waits now
        fleet.follow(replace(snapshot, models={made.weights.id: torn}))
        assert "cannot be loaded: torn" in (await held.refusal()).message
        with pytest.raises(failures.Unavailable, match="cannot be loaded: torn") as caught:
            await first
        assert caught.value.code == "release_unavailable"
    finally:
        await fleet.close()
