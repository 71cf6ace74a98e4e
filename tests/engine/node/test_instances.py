"""Instances follow the store: none too early, none too late, each from the right file."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine.node.instances import Instances
from engine.node.placement import Device
from engine.node.records import Records
from engine.node.specs import GONE, Fact, LoadFailure, Preparation, Spec
from engine.node.supervised import Prepare, SupervisedProcess
from engine.node.supervision import SECOND_US, Death
from storage import deployments, models, processes, releases, services
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.models import Status
from storage.processes import Kind, State
from storage.releases import Engine
from storage.services import Arm
from storage.store import Session, Store
from tests import home_fixtures
from tests.storage import fixtures
from tests.storage.fixtures import Furniture

DEPLOYMENT = "ops-1.0.0"
FIRST, SECOND, THIRD = (f"{DEPLOYMENT}:{n}" for n in (1, 2, 3))
OTHER = "other-1.0.0:1"


class Box:
    """Instances on a real store, with processes that are never run and a clock that is set."""

    def __init__(self, store: Store, furnished: Furniture) -> None:
        self.store = store
        self.furnished = furnished
        self.running: dict[str, SupervisedProcess] = {}
        self.prepare: dict[str, Prepare] = {}
        self.forgotten: list[str] = []
        self.devices: list[Device] = []
        self.now_us = 0
        self.begun = "ready"
        self.instances = Instances(
            store.home,
            store,
            self.running,
            begin=self._begin,
            forget=self.forgotten.append,
            devices=lambda: self.devices,
            now_us=lambda: self.now_us,
        )

    def _begin(self, spec: Spec, prepare: Prepare) -> None:
        process = SupervisedProcess(
            spec, monotonic_us=lambda: self.now_us, tell=lambda _: None, prepare=prepare
        )
        process._report(self.begun)
        process._change(running=True, ready=True)
        self.running[spec.name] = process
        self.prepare[spec.name] = prepare

    def observe(self, name: str, **fields: Any) -> None:
        """What the node observes of an instance."""
        self.running[name]._change(**fields)

    def end(self, name: str) -> None:
        """A process has ended as it was asked to, and the node has removed it."""
        assert self.running[name].stopping
        del self.running[name]

    @property
    def stopping(self) -> set[str]:
        """The instances that were asked to exit."""
        return {name for name, process in self.running.items() if process.stopping}

    async def split(self, release: int) -> None:
        """All traffic to one release."""
        arms = [Arm(release=release, weight_bp=services.WHOLE_BP)]
        await self.store.write(
            lambda s: services.set_split(
                s, service="support", arms=arms, expected_version=None, actor="kim", at_us=5
            )
        )
        await self.instances.follow()

    async def scale(self, replicas: int) -> None:
        """Ask for so many instances."""
        await self.store.write(
            lambda s: deployments.scale(s, DEPLOYMENT, replicas, actor="kim", at_us=5)
        )
        await self.instances.follow()

    async def linger(self) -> None:
        """Let the time pass in which the gateway reads the store."""
        self.now_us += self.instances.linger_us
        await self.instances.follow()


@asynccontextmanager
async def box(root: Path) -> AsyncIterator[Box]:
    """A service on r1, its instance started; r3 has other weights."""
    store = await stores.open(homes.make(Home(root)))

    async def other(s: Session) -> None:
        await fixtures.release(s, await fixtures.model(s, model="other"))

    try:
        made = Box(store, await fixtures.furnish(store))
        await store.write(other)
        await made.instances.follow()
        assert list(made.running) == [FIRST]
        yield made
    finally:
        await store.close()


async def test_an_instance_that_no_split_names_stops_when_its_work_is_done(tmp_path: Path) -> None:
    """Requests in flight finish where they began, however long that takes."""
    async with box(tmp_path / "home") as here:
        here.observe(FIRST, working=True)
        await here.split(3)
        assert set(here.running) == {FIRST, OTHER}
        here.now_us += 3600 * SECOND_US
        await here.instances.follow()
        assert (here.stopping, here.instances.settling) == (set(), True)
        here.observe(FIRST, working=False)
        await here.instances.follow()
        assert here.stopping == {FIRST}


async def test_an_idle_instance_waits_until_the_gateway_has_read_the_split(tmp_path: Path) -> None:
    """A request that came just before finds it; going back within that time costs nothing."""
    async with box(tmp_path / "home") as here:
        await here.split(3)
        here.now_us += here.instances.linger_us - 1
        await here.instances.follow()
        await here.split(1)
        await here.linger()
        assert (here.stopping, here.instances.settling) == ({OTHER}, True)


async def test_scaling_up_starts_what_is_missing(tmp_path: Path) -> None:
    """Each instance has its own socket and log; those that run are left alone."""
    async with box(tmp_path / "home") as here:
        first = here.running[FIRST]
        await here.scale(3)
        assert list(here.running) == [FIRST, SECOND, THIRD]
        assert here.running[FIRST] is first
        logs = {process.spec.log for process in here.running.values()}
        sockets = {process.spec.command[4] for process in here.running.values()}
        assert (len(logs), len(sockets), here.stopping) == (3, 3, set())


async def test_scaling_down_drains_the_last_instances(tmp_path: Path) -> None:
    """They get no new work once the gateway has read the number, and stop when they are idle."""
    async with box(tmp_path / "home") as here:
        await here.scale(3)
        here.observe(THIRD, working=True)
        await here.scale(1)
        assert here.stopping == set()
        await here.linger()
        assert here.stopping == {SECOND}
        here.observe(THIRD, working=False)
        await here.instances.follow()
        assert here.stopping == {SECOND, THIRD}
        here.end(SECOND)
        here.end(THIRD)
        await here.instances.follow()
        assert (list(here.running), here.instances.settling) == ([FIRST], False)


async def test_scaling_up_again_while_an_instance_stops_starts_it_anew(tmp_path: Path) -> None:
    """It has been asked to exit, so another process takes its name when it has."""
    async with box(tmp_path / "home") as here:
        await here.scale(2)
        await here.scale(1)
        await here.linger()
        assert here.stopping == {SECOND}
        await here.scale(2)
        assert (here.stopping, here.instances.settling) == ({SECOND}, True)
        here.end(SECOND)
        await here.instances.follow()
        assert (list(here.running), here.stopping) == ([FIRST, SECOND], set())


async def test_a_verdict_about_a_file_stops_no_instance_that_serves_it(tmp_path: Path) -> None:
    """Another instance reported that the weights cannot be loaded; this one has them."""
    async with box(tmp_path / "home") as here:
        id = here.furnished.weights.id
        await here.store.write(lambda s: models.mark_unloadable(s, id, "torn", 7))
        here.now_us += 3600 * SECOND_US
        await here.instances.follow()
        assert (here.stopping, here.instances.settling) == (set(), False)


def _added_again(id: int, path: str) -> Any:
    return lambda s: models.add_again(
        s, id, path=path, size_bytes=4_000_000, mtime_ns=1, actor="kim", at_us=8
    )


async def test_a_file_that_was_added_again_is_tried_again(tmp_path: Path) -> None:
    """Once its verdict was lifted, and not while it is still being written."""
    async with box(tmp_path / "home") as here:
        process, weights = here.running[FIRST], here.furnished.weights
        here.observe(FIRST, failed="torn", running=False)
        await here.instances.follow()
        assert process.given_up
        await here.store.write(lambda s: models.mark_unloadable(s, weights.id, "torn", 7))
        await here.instances.follow()
        assert process.given_up
        await here.store.write(_added_again(weights.id, weights.path))
        await here.instances.follow()
        assert not process.given_up


async def test_a_version_that_was_added_at_another_path_is_loaded_from_there(
    tmp_path: Path,
) -> None:
    """The process is drained and replaced; it used to keep the old command for ever."""
    async with box(tmp_path / "home") as here:
        weights = here.furnished.weights
        await here.store.write(_added_again(weights.id, "/mnt/ops.gguf"))
        await here.instances.follow()
        assert (here.stopping, here.instances.settling) == ({FIRST}, True)
        here.end(FIRST)
        await here.instances.follow()
        assert "/mnt/ops.gguf" in here.running[FIRST].spec.command
        assert here.instances.settling is False


async def test_one_that_was_given_up_at_its_old_path_is_replaced_too(tmp_path: Path) -> None:
    """Unloadable there, added again elsewhere: the case that people meet."""
    async with box(tmp_path / "home") as here:
        weights = here.furnished.weights
        here.observe(FIRST, failed="torn", running=False)
        await here.store.write(lambda s: models.mark_unloadable(s, weights.id, "torn", 7))
        await here.instances.follow()
        await here.store.write(_added_again(weights.id, "/mnt/ops.gguf"))
        await here.instances.follow()
        here.end(FIRST)
        await here.instances.follow()
        assert "/mnt/ops.gguf" in here.running[FIRST].spec.command


async def test_replicas_are_replaced_in_turn(tmp_path: Path) -> None:
    """The others serve meanwhile, and a replacement that is not ready holds up the rest."""
    async with box(tmp_path / "home") as here:
        await here.scale(2)
        await here.store.write(_added_again(here.furnished.weights.id, "/mnt/ops.gguf"))
        await here.instances.follow()
        assert here.stopping == {FIRST}
        here.end(FIRST)
        here.begun = "starting"
        await here.instances.follow()
        started = here.running[FIRST]
        await here.instances.follow()
        assert (here.stopping, here.instances.settling) == (set(), True)
        started._report("ready")
        await here.instances.follow()
        assert here.stopping == {SECOND}


def _fact(name: str, at_us: int, adapter: str = "") -> Fact:
    how = "it was killed by SIGABRT"
    death = Death(at_us, lived_us=1, stepped=False, how=how, adapter=adapter)
    return Fact(name, "worker", "crashed", deployment=DEPLOYMENT, death=death)


async def test_a_deployment_that_dies_of_its_requests_is_stopped_until_it_is_restarted(
    tmp_path: Path,
) -> None:
    """The deaths of all its instances count, and another deployment's do not."""
    async with box(tmp_path / "home") as here:
        await here.scale(2)
        facts = [_fact(f"{DEPLOYMENT}:{1 + n % 2}", n) for n in range(5)]
        said = [here.instances.observe(fact).failing for fact in facts]
        assert said[:4] == [None] * 4
        evidence = said[4]
        assert evidence is not None
        assert "died 5 times" in evidence
        assert here.stopping == {FIRST, SECOND}
        assert here.instances.observe(_fact(FIRST, 5)).failing is None  # said once
        here.end(FIRST)
        here.end(SECOND)
        await here.instances.follow()  # the store does not know it yet
        assert here.running == {}
        await here.store.write(lambda s: deployments.mark_failing(s, DEPLOYMENT, evidence, 9))
        await here.instances.follow()
        assert here.running == {}
        await here.store.write(lambda s: deployments.restart(s, DEPLOYMENT, actor="kim", at_us=10))
        await here.instances.follow()
        assert list(here.running) == [FIRST, SECOND]
        assert here.instances.observe(_fact(FIRST, 6)).failing is None  # the count begins anew


async def test_an_adapter_whose_requests_kill_the_worker_leaves_its_base_alone(
    tmp_path: Path,
) -> None:
    """The verdict is the adapter's; deaths of it count neither for the base nor for another."""
    async with box(tmp_path / "home") as here:
        facts = [_fact(FIRST, n, adapter) for n, adapter in enumerate("ababababa")]
        said = [here.instances.observe(fact) for fact in facts]
        assert [(each.failing, each.load_failure) for each in said[:8]] == [(None, None)] * 8
        assert said[8].failing is None
        assert said[8].load_failure is not None
        assert said[8].load_failure.adapter == "a"
        assert "died 5 times" in said[8].load_failure.reason
        assert here.stopping == set()
        assert [here.instances.observe(_fact(FIRST, 9, "a")).load_failure] == [None]


async def test_the_rows_of_instances_that_are_gone_for_good_are_removed(tmp_path: Path) -> None:
    """One that crashed stays visible while a split names it or it is failing, and no longer."""

    async def crashed(s: Session) -> None:
        for name, deployment in ((FIRST, DEPLOYMENT), (OTHER, "other-1.0.0")):
            await processes.declare(s, name=name, kind=Kind.WORKER, deployment=deployment, at_us=1)
            await processes.move(s, name, State.CRASHED, at_us=2, reason="torn")

    async with box(tmp_path / "home") as here:
        await here.store.write(crashed)
        here.running.clear()
        await here.instances.follow()
        assert here.forgotten == [OTHER]
        here.running.clear()
        await here.store.write(lambda s: deployments.mark_failing(s, DEPLOYMENT, "torn", 9))
        await here.instances.follow()
        assert here.forgotten == [OTHER, OTHER]
        assert here.running == {}


async def _prepared(here: Box, engine: Engine) -> Preparation:
    """What an instance with these settings, of a file that exists, is started with."""

    async def work(s: Session) -> int:
        version = await home_fixtures.add_model(s, home_fixtures.WEIGHTS, "7.0.0")
        return (await fixtures.release(s, version, engine=engine)).number

    await here.split(await here.store.write(work))
    (name,) = [name for name in here.running if "7.0.0" in name]
    return await here.prepare[name]()


async def test_an_instance_goes_on_the_freest_gpu(tmp_path: Path) -> None:
    """And one that names its devices gets those."""
    async with box(tmp_path / "home") as here:
        here.devices = [Device(0, 10**9), Device(1, 10**10)]
        prepared = await _prepared(here, Engine())
        assert prepared.environment["CUDA_VISIBLE_DEVICES"] == "1"
    async with box(tmp_path / "named") as here:
        here.devices = [Device(0, 10**9), Device(1, 10**10)]
        prepared = await _prepared(here, Engine(devices=(0,)))
        assert prepared.environment["CUDA_VISIBLE_DEVICES"] == "0"


async def test_a_device_that_is_not_there_is_no_fault_of_the_file(tmp_path: Path) -> None:
    """It may come back; meanwhile the reason lists the devices that there are."""
    async with box(tmp_path / "home") as here:
        here.devices = [Device(0, 10**9)]
        prepared = await _prepared(here, Engine(devices=(0, 3)))
        assert prepared.refusal == "there is no GPU 3; present: 0"
        assert not prepared.permanent


async def test_a_replaced_file_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    """For good: another content is another version."""
    async with box(tmp_path / "home") as here:
        path = tmp_path / "model.gguf"
        path.write_bytes(b"something else")
        await here.store.write(_added_again(here.furnished.weights.id, str(path)))
        await here.instances.follow()
        here.end(FIRST)
        await here.instances.follow()
        prepared = await here.prepare[FIRST]()
        assert prepared.permanent
        assert "is not the file that was registered" in (prepared.refusal or "")


async def test_facts_are_written_to_what_they_are_about(tmp_path: Path) -> None:
    """A broken adapter is never its base's fault; a removed one has no row."""
    async with box(tmp_path / "home") as here:
        weights, adapter = here.furnished.weights, here.furnished.adapter
        records = Records(here.store, now_us=lambda: 9, owed=None)
        fact = Fact(FIRST, "worker", "starting", deployment=DEPLOYMENT, model=weights.id)
        failure = LoadFailure(adapter.sha256[:16], "it was killed by SIGABRT")
        batch = [
            fact,
            dataclasses.replace(fact, state="crashed", reason=failure.reason, load_failure=failure),
            dataclasses.replace(fact, state="crashed", reason="it died", failing="it died"),
        ]
        assert await records._write([(9, each) for each in batch])
        async with here.store.read() as s:
            found = {each.id: each.status for each in await models.every(s)}
            (row,) = await processes.every(s)
            deployment = await deployments.find(s, DEPLOYMENT)
        assert (row.name, row.deployment, row.reason) == (FIRST, DEPLOYMENT, "it died")
        assert (deployment.status, deployment.status_reason) == ("failing", "it died")
        assert (found[weights.id], found[adapter.id]) == (Status.REGISTERED, Status.UNLOADABLE)
        gone = Fact(FIRST, "worker", GONE)
        assert await records._write([(9, gone), (9, gone)])
        async with here.store.read() as s:
            assert await processes.every(s) == []


async def test_a_verdict_is_not_lost_while_the_disk_is_full(tmp_path: Path) -> None:
    """Only the latest state of each process is held back, and every verdict."""
    async with box(tmp_path / "home") as here:
        records = Records(here.store, now_us=lambda: 9, owed=None)
        records.trouble = "no space is left"
        fact = Fact(FIRST, "worker", "crashed", deployment=DEPLOYMENT)
        verdict = dataclasses.replace(fact, failing="it died")
        for each in (fact, verdict, fact, fact):
            records.tell(each)
        assert [each for _, each in records._facts] == [verdict, fact]


def test_a_release_of_other_settings_is_another_deployment() -> None:
    """The identity is an explicit tuple of what is loaded; sampling is no part of it."""
    assert deployments.identity("ab", Engine()) == ("local", "ab")
    tuned = msgspec.structs.replace(Engine(), threads=2, devices=(0,))
    expected = ("local", "ab", ("threads", 2), ("devices", (0,)))
    assert deployments.identity("ab", tuned) == expected
    far = releases.Upstream(name="far", model="qwen")
    assert deployments.identity(None, far) == ("upstream", "far")
