"""Samples are written as they were measured; a driver that hangs costs its own figures only."""

from __future__ import annotations

import threading

from engine.metering.gpu import Gpus
from engine.metering.host import Host
from engine.metering.telemetry import Telemetry
from storage import samples
from storage.home import clock
from storage.samples import Kind
from storage.store import Store
from tests.engine.metering.fake_nvml import Driver

NOW_S = 1_800_000_000


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
