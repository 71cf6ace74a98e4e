"""The host's figures are the kernel's; GPUs are measured where there are any, and never raise."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.metering import gpu
from engine.metering.gpu import Gpus
from engine.metering.host import Host
from storage.home import clock
from tests.engine.metering.fake_nvml import Driver


def test_the_host_is_what_the_kernel_says(tmp_path: Path) -> None:
    """Memory, disk and cores against other sources."""
    sample = Host(tmp_path).sample()
    disk = shutil.disk_usage(tmp_path)
    assert sample.cores == os.cpu_count()
    assert 0 <= sample.cpu_percent <= 100
    assert sample.memory_total == psutil.virtual_memory().total
    assert 0 < sample.memory_used < sample.memory_total
    assert sample.disk_total == disk.total
    assert sample.disk_used == pytest.approx(disk.total - disk.free, rel=0.05)
    assert sample.load1 >= 0


def test_a_gpu_is_measured_in_the_units_of_the_store() -> None:
    """Bytes, milliwatts, degrees, and why it is slowed down."""
    (sample,) = Gpus(monotonic_us=clock.monotonic_us, nvml=Driver).sample()
    assert (sample.index, sample.name, sample.utilisation_percent) == (0, "Test GPU", 83.0)
    assert (sample.memory_used, sample.memory_total) == (3 << 30, 80 << 30)
    assert (sample.power_mw, sample.power_limit_mw, sample.temperature_c) == (312_000, 700_000, 61)
    assert sample.throttle == ("power cap", "thermal, hardware")


def test_an_older_driver_tells_throttling_by_its_older_name() -> None:
    """Before 535."""
    driver = Driver(broken=("nvmlDeviceGetCurrentClocksEventReasons",))
    (sample,) = Gpus(monotonic_us=clock.monotonic_us, nvml=lambda: driver).sample()
    assert sample.throttle == ("power brake",)


def test_a_figure_that_a_card_does_not_have_is_not_made_up() -> None:
    """A MIG slice has its memory and little else; what it lacks is None, not zero."""
    driver = Driver(
        broken=(
            "nvmlDeviceGetPowerUsage",
            "nvmlDeviceGetEnforcedPowerLimit",
            "nvmlDeviceGetUtilizationRates",
            "nvmlDeviceGetTemperature",
        )
    )
    (sample,) = Gpus(monotonic_us=clock.monotonic_us, nvml=lambda: driver).sample()
    assert (sample.memory_used, sample.memory_total) == (3 << 30, 80 << 30)
    assert (sample.power_mw, sample.power_limit_mw) == (None, None)
    assert (sample.utilisation_percent, sample.temperature_c) == (None, None)


def _absent() -> Any:
    raise OSError("libnvidia-ml.so.1: cannot open shared object file")


@pytest.mark.parametrize(
    "nvml",
    [
        lambda: Driver(gpus=0),
        lambda: Driver(broken=("nvmlInit",)),
        lambda: Driver(broken=("nvmlDeviceGetCount",)),
        lambda: Driver(broken=("nvmlDeviceGetHandleByIndex",)),
        _absent,
    ],
)
def test_a_box_without_gpu_or_driver_is_a_normal_box(nvml: Callable[[], Any]) -> None:
    """No sample, no exception."""
    gpus = Gpus(monotonic_us=clock.monotonic_us, nvml=nvml)
    assert gpus.sample() == []
    gpus.close()


def test_a_gpu_that_falls_off_the_bus_is_looked_for_again_later() -> None:
    """It vanishes from the samples and comes back with its driver."""
    now = 0
    driver = Driver()
    gpus = Gpus(monotonic_us=lambda: now, nvml=lambda: driver)
    assert len(gpus.sample()) == 1
    driver.broken = ("nvmlDeviceGetMemoryInfo",)
    assert gpus.sample() == []
    driver.broken = ()
    assert not gpus.due()
    now = 61_000_000
    assert gpus.due()
    assert len(gpus.sample()) == 1


def test_this_machine_s_own_driver_is_asked_without_harm() -> None:
    """Whatever this machine has, the answer is a list."""
    gpus = Gpus(monotonic_us=clock.monotonic_us, nvml=gpu.library)
    for sample in gpus.sample():
        assert sample.memory_total > 0
    gpus.close()
