"""Workers follow the splits: begun when they are named, let go when their work is done."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from engine.node.records import Records
from engine.node.specs import GONE, Broken, Fact, Spec
from engine.node.supervised import Part
from engine.node.supervision import SECOND_US
from engine.node.workers import Fit, Workers
from storage import models, processes, services, standings
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.models import Standing
from storage.processes import Kind, State
from storage.services import Arm
from storage.store import Session, Store
from tests.storage import fixtures
from tests.storage.fixtures import Furniture

WORKER = "ops-1.0.0"
OTHER = "other-1.0.0"


class Staff:
    """Workers on a real store, with parts that are never run and a clock that is set."""

    def __init__(self, store: Store, furnished: Furniture) -> None:
        self.store = store
        self.furnished = furnished
        self.parts: dict[str, Part] = {}
        self.forgotten: list[str] = []
        self.now_us = 0
        self.workers = Workers(
            store.home,
            store,
            self.parts,
            begin=self._begin,
            forget=self.forgotten.append,
            now_us=lambda: self.now_us,
        )

    def _begin(self, spec: Spec, _fit: Fit) -> None:
        part = Part(spec, monotonic_us=lambda: self.now_us, tell=lambda _: None)
        part.fact = dataclasses.replace(part.fact, state="ready")
        self.parts[spec.name] = part

    def seen(self, **fields: object) -> None:
        """What the node knows of the worker of the service."""
        self.parts[WORKER]._change(**fields)

    @property
    def wanted(self) -> bool:
        """Whether the worker of the service is not told to leave."""
        return self.parts[WORKER]._observed.wanted

    async def split(self, release: int) -> None:
        """All traffic to one release."""
        arms = [Arm(release=release, weight_bp=services.WHOLE_BP)]
        await self.store.write(
            lambda s: services.set_split(
                s, service="support", arms=arms, expected_version=None, actor="kim", at_us=5
            )
        )
        await self.workers.follow()


@asynccontextmanager
async def staff(root: Path) -> AsyncIterator[Staff]:
    """A service on r1, its worker begun; r3 stands on other weights."""
    store = await stores.open(homes.make(Home(root)))

    async def other(s: Session) -> None:
        await fixtures.release(s, await fixtures.model(s, model="other"))

    try:
        made = Staff(store, await fixtures.furnish(store))
        await store.write(other)
        await made.workers.follow()
        assert list(made.parts) == [WORKER]
        yield made
    finally:
        await store.close()


async def test_a_worker_that_no_split_names_leaves_when_its_work_is_done(tmp_path: Path) -> None:
    """Requests in flight finish where they began, however long that takes."""
    async with staff(tmp_path / "home") as here:
        here.seen(running=True, ready=True, working=True)
        await here.split(3)
        assert set(here.parts) == {WORKER, OTHER}
        here.now_us += 3600 * SECOND_US
        await here.workers.follow()
        assert (here.wanted, here.workers.leaving) == (True, True)
        here.seen(working=False)
        await here.workers.follow()
        assert not here.wanted


async def test_an_idle_worker_waits_until_the_gateway_has_read_the_split(tmp_path: Path) -> None:
    """A request that came just before finds it; going back within that time costs nothing."""
    async with staff(tmp_path / "home") as here:
        here.seen(running=True, ready=True)
        await here.split(3)
        here.now_us += here.workers.linger_us - 1
        await here.workers.follow()
        await here.split(1)
        here.now_us += here.workers.linger_us
        await here.workers.follow()
        assert (here.wanted, here.workers.leaving) == (True, True)  # the other one leaves now
        assert not here.parts[OTHER]._observed.wanted


async def test_a_verdict_about_a_file_stops_nobody_who_serves_it(tmp_path: Path) -> None:
    """Another worker on the same weights said that they cannot be loaded; this one has them."""
    async with staff(tmp_path / "home") as here:
        id = here.furnished.weights.id
        here.seen(running=True, ready=True)
        await here.store.write(lambda s: standings.mark_unloadable(s, id, "torn", 7))
        here.now_us += 3600 * SECOND_US
        await here.workers.follow()
        assert (here.wanted, here.workers.leaving) == (True, False)


async def test_a_file_that_was_added_again_is_tried_again(tmp_path: Path) -> None:
    """Once its verdict was taken back, and not while it is still being written down."""
    async with staff(tmp_path / "home") as here:
        part, id = here.parts[WORKER], here.furnished.weights.id
        here.seen(failed="torn")
        await here.workers.follow()
        assert part.given_up
        await here.store.write(lambda s: standings.mark_unloadable(s, id, "torn", 7))
        await here.workers.follow()
        assert part.given_up
        await here.store.write(
            lambda s: standings.put_back(
                s, id, path="/x", size_bytes=1, mtime_ns=1, actor="kim", at_us=8
            )
        )
        await here.workers.follow()
        assert not part.given_up


async def test_the_record_of_a_worker_that_is_gone_for_good_is_forgotten(tmp_path: Path) -> None:
    """Whoever crashed last stays to be seen while a split names it, and no longer."""

    async def crashed(s: Session) -> None:
        for name in (WORKER, OTHER):
            await processes.declare(s, name=name, kind=Kind.WORKER, at_us=1)
            await processes.move(s, name, State.CRASHED, at_us=2, reason="torn")

    async with staff(tmp_path / "home") as here:
        await here.store.write(crashed)
        here.parts.clear()
        await here.workers.follow()
        assert here.forgotten == [OTHER]


async def test_what_the_node_notes_is_written_to_whom_it_concerns(tmp_path: Path) -> None:
    """A broken lane is its adapter's, never the base's; who is gone has no record any more."""
    async with staff(tmp_path / "home") as here:
        weights, adapter = here.furnished.weights, here.furnished.adapter
        records = Records(here.store, now_us=lambda: 9, owed=None)
        fact = Fact(WORKER, "worker", "starting", model=weights.id)
        broken = Broken(adapter.sha256[:16], "it was killed by SIGABRT")
        batch = [
            fact,
            dataclasses.replace(fact, state="crashed", reason=broken.why, broken=broken),
        ]
        assert await records._write([(9, each) for each in batch])
        async with here.store.read() as s:
            found = {each.id: each.standing for each in await models.every(s)}
            assert [part.reason for part in await processes.every(s)] == [broken.why]
        assert (found[weights.id], found[adapter.id]) == (
            Standing.REGISTERED,
            Standing.UNLOADABLE,
        )
        gone = Fact(WORKER, "worker", GONE)
        assert await records._write([(9, gone), (9, gone)])
        async with here.store.read() as s:
            assert await processes.every(s) == []
