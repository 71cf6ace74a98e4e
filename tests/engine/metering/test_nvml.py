"""GPUs through the real pynvml, which loads a library of our own in the place of NVIDIA's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storage.samples import GpuProcess, GpuSample

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CC = shutil.which("cc")

pytestmark = pytest.mark.skipif(CC is None, reason="the stub of NVML needs a C compiler, cc")


class Stub:
    """The process that samples the stub's two cards."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def sample(self, **scene: object) -> list[GpuSample] | None:
        """The samples of a scene; None where the sampler did not want to ask."""
        self.ask(**scene)
        return self.answer()

    def ask(self, **scene: object) -> None:
        """Begin a scene."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(scene) + "\n")
        self._process.stdin.flush()

    def answer(self) -> list[GpuSample] | None:
        """Its samples."""
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        return msgspec.json.decode(told, type=list[GpuSample] | None)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stub, as it is compiled."""
    folder = tmp_path_factory.mktemp("nvml")
    target = folder / "libnvidia-ml.so.1"
    command = [str(CC), "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(target)]
    subprocess.run([*command, str(HERE / "stub_nvml.c")], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def stub(library: Path) -> Iterator[Stub]:
    """The sampler, for all tests."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.engine.metering.stub_samples"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    ) as process:  # fmt: skip
        yield Stub(process)
        assert process.stdin is not None
        process.stdin.close()


def test_all_that_a_card_tells_is_in_the_units_of_the_store(stub: Stub) -> None:
    """Bytes, milliwatts, millijoules, megahertz; the second card differs from the first."""
    found = stub.sample()
    assert found is not None
    first, second = found
    assert (first.index, first.name, first.utilisation_percent) == (0, "Stub H0", 83.0)
    assert (first.memory_used, first.memory_total) == (3 << 30, 80 << 30)
    assert (first.power_mw, first.power_limit_mw, first.temperature_c) == (312_000, 700_000, 61)
    assert first.throttle == ("power cap", "thermal, hardware")
    assert (first.energy_mj, second.energy_mj) == (123_456_789_012, 123_456_789_013)
    assert (first.clock_mhz, first.clock_max_mhz, first.memory_clock_mhz) == (1410, 1980, 2619)
    assert (first.xids, first.ecc_uncorrected) == ((), 2)
    assert first.processes == (GpuProcess(4711, 1 << 30), GpuProcess(4712, None))


FIELDS = {
    "nvmlDeviceGetUtilizationRates": "utilisation_percent",
    "nvmlDeviceGetPowerUsage": "power_mw",
    "nvmlDeviceGetEnforcedPowerLimit": "power_limit_mw",
    "nvmlDeviceGetTemperature": "temperature_c",
    "nvmlDeviceGetTotalEnergyConsumption": "energy_mj",
    "nvmlDeviceGetMaxClockInfo": "clock_max_mhz",
    "nvmlDeviceGetTotalEccErrors": "ecc_uncorrected",
    "nvmlDeviceGetComputeRunningProcesses_v3": "processes",
    "nvmlDeviceRegisterEvents": "xids",
    "nvmlEventSetCreate": "xids",
}


@pytest.mark.parametrize(("function", "field"), FIELDS.items())
def test_a_figure_that_a_card_lacks_is_unknown_and_the_others_are_not(
    stub: Stub, function: str, field: str
) -> None:
    """None, never zero."""
    whole = stub.sample()
    found = stub.sample(STUB_LACKS=function)
    assert whole is not None
    assert found is not None
    for before, now in zip(whole, found, strict=True):
        assert now == msgspec.structs.replace(before, **{field: None})


def test_a_driver_from_before_535_tells_throttling_by_its_older_name(stub: Stub) -> None:
    """The same reasons by the same bits."""
    found = stub.sample(STUB_LACKS="nvmlDeviceGetCurrentClocksEventReasons")
    assert found is not None
    assert found[0].throttle == ("power brake",)


def test_an_error_that_the_driver_reports_is_told_once_and_of_its_card(stub: Stub) -> None:
    """Xid 79: the GPU has fallen off the bus."""
    stub.sample()
    told = [stub.sample(next=True, STUB_XID="79"), stub.sample(next=True)]
    assert [[gpu.xids for gpu in found or []] for found in told] == [[(), (79,)], [(), ()]]


def test_a_card_that_falls_off_has_no_sample_and_comes_back(stub: Stub) -> None:
    """The other one is measured all the while; a reset card is found within a minute."""
    assert len(stub.sample() or []) == 2
    lost = stub.sample(next=True, STUB_LOST="0")
    assert [gpu.index for gpu in lost or []] == [1]
    again = [stub.sample(next=True, STUB_LOST="0", later_us=61_000_000) for _ in range(2)]
    assert [[gpu.index for gpu in found or []] for found in again] == [[1], [1]]
    back = [stub.sample(next=True, later_us=61_000_000) for _ in range(2)]
    assert [gpu.index for gpu in back[-1] or []] == [0, 1]


def test_a_driver_that_is_not_loaded_is_asked_again_after_a_minute(stub: Stub) -> None:
    """Until then not at all."""
    absent: dict[str, Any] = {"STUB_LACKS": "nvmlInitWithFlags nvmlInit_v2"}
    assert stub.sample(**absent) == []
    assert stub.sample(next=True) is None
    assert len(stub.sample(next=True, later_us=61_000_000) or []) == 2


def test_a_question_that_hangs_is_answered_when_the_driver_does(stub: Stub, tmp_path: Path) -> None:
    """The sampler waits for it, in its own thread where control runs it."""
    fifo = tmp_path / "hangs"
    os.mkfifo(fifo)
    stub.ask(STUB_HANGS=str(fifo))
    answers = os.open(fifo, os.O_WRONLY)  # waits until the first card's question does
    try:
        assert len(stub.answer() or []) == 2
    finally:
        os.close(answers)
