"""Samples are written as they were measured, and old ones are forgotten when it is safe to."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from engine.control.retention import Keeper, schedule
from engine.control.telemetry import Telemetry
from engine.metering.gpu import Gpus
from engine.metering.host import Host
from storage import clock, samples
from storage import home as homes
from storage import store as stores
from storage.config import Retention
from storage.home import Home
from storage.samples import Kind
from storage.store import Store
from tests.engine.metering.drivers import Driver

DAY_S = 24 * 3600
NOW_S = 1_800_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store of its own."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))
    yield opened
    await opened.close()


async def test_a_second_is_written_with_host_and_gpus(store: Store) -> None:
    """One row for the machine, one for each GPU."""
    driver = Driver(gpus=2)
    telemetry = Telemetry(
        store,
        Host(store.home.root),
        Gpus(monotonic_us=clock.monotonic_us, nvml=lambda: driver),
        now_us=lambda: NOW_S * 1_000_000 + 7,
    )
    await telemetry.once()
    async with store.read() as session:
        ((second, _, host),) = await samples.since(session, 0, Kind.HOST)
        gpus = await samples.since(session, 0, Kind.GPU)
    assert second == NOW_S
    assert host.memory_total > 0
    assert [(subject, sample.temperature_c) for _, subject, sample in gpus] == [
        ("0", 61),
        ("1", 61),
    ]


async def test_a_driver_that_hangs_costs_its_own_figures_only(store: Store) -> None:
    """The host is still sampled, each second, while NVML does not come back."""
    hung = threading.Event()
    driver = Driver(gpus=1, slow=hung.wait)
    telemetry = Telemetry(
        store,
        Host(store.home.root),
        Gpus(monotonic_us=clock.monotonic_us, nvml=lambda: driver),
        now_us=clock.now_us,
    )
    try:
        await telemetry.once()
        await telemetry.once()
    finally:
        hung.set()
    async with store.read() as session:
        assert await samples.since(session, 0, Kind.GPU) == []
        assert await samples.since(session, 0, Kind.HOST) != []


async def test_the_driver_is_begun_where_it_may_hang(store: Store) -> None:
    """Loading NVML and its first call block as readings do: never in the loop's own thread."""
    asked: list[int] = []

    def nvml() -> Driver:
        asked.append(threading.get_ident())
        return Driver()

    gpus = Gpus(monotonic_us=clock.monotonic_us, nvml=nvml)
    host = Host(store.home.root)
    telemetry = Telemetry(store, host, gpus, now_us=clock.now_us)
    await telemetry.once()
    assert len(asked) == 1
    assert threading.get_ident() not in asked


class Times:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.wall_s = NOW_S
        self.monotonic_s = 5000

    def pass_(self, seconds: int) -> None:
        """Time goes by, as it should."""
        self.wall_s += seconds
        self.monotonic_s += seconds


async def _sampled(store: Store, *ages_days: int) -> None:
    async def work(session: AsyncSession) -> None:
        for age in ages_days:
            sample = samples.ArmSample(requests=1)
            await samples.record(session, NOW_S - age * DAY_S, [(Kind.ARM, "s/r1", sample)])

    await store.write(work)


async def _left(store: Store) -> int:
    async with store.read() as session:
        return len(await samples.since(session, 0, Kind.ARM))


def _keeper(store: Store, times: Times) -> Keeper:
    return Keeper(
        store,
        Retention(samples_days=7),
        now_us=lambda: times.wall_s * 1_000_000,
        monotonic_us=lambda: times.monotonic_s * 1_000_000,
    )


async def test_what_is_older_than_its_days_is_forgotten(store: Store) -> None:
    """Seven days are kept, the eighth is not."""
    times = Times()
    await _sampled(store, 0, 6, 8, 30)
    times.pass_(3600)
    assert await _keeper(store, times).forget() == 2
    assert await _left(store) == 2


async def test_nothing_is_forgotten_because_a_clock_jumped(store: Store) -> None:
    """A year ahead by mistake, and nothing is lost; time that really passed still counts."""
    times = Times()
    await _sampled(store, 0, 6)
    keeper = _keeper(store, times)
    times.wall_s += 365 * DAY_S
    assert await keeper.forget() == 0
    times.wall_s -= 365 * DAY_S
    assert await keeper.forget() == 0
    times.pass_(2 * DAY_S)
    assert await keeper.forget() == 1
    assert await _left(store) == 1


async def test_missed_runs_are_made_good_by_one(store: Store) -> None:
    """However long control was down."""
    scheduler = schedule(_keeper(store, Times()))
    scheduler.start(paused=True)
    (job,) = scheduler.get_jobs()
    assert (job.coalesce, job.misfire_grace_time, job.max_instances) == (True, None, 1)
    scheduler.shutdown(wait=False)
