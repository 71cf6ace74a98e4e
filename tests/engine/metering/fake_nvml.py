"""NVML as a driver answers it, for tests on machines without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

GPU = {
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=3 << 30, total=80 << 30),
    "nvmlDeviceGetName": "Test GPU",
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=83, memory=12),
    "nvmlDeviceGetCurrentClocksEventReasons": 0x4 | 0x40,
    "nvmlDeviceGetCurrentClocksThrottleReasons": 0x80,
    "nvmlDeviceGetPowerUsage": 312_000,
    "nvmlDeviceGetEnforcedPowerLimit": 700_000,
    "nvmlDeviceGetTemperature": 61,
    "nvmlDeviceGetTotalEnergyConsumption": 5_000,
    "nvmlDeviceGetClockInfo": 1_410,
    "nvmlDeviceGetMaxClockInfo": 1_980,
    "nvmlDeviceGetTotalEccErrors": 0,
    "nvmlDeviceGetComputeRunningProcesses": [],
    "nvmlEventSetCreate": 1,
    "nvmlEventSetWait": None,
    "nvmlEventSetFree": None,
    "nvmlDeviceRegisterEvents": None,
    "nvmlDeviceGetHandleByIndex": 0,
    "nvmlInit": None,
    "nvmlShutdown": None,
}


class Driver:
    """Each function answers from the table; `broken` are those that fail as NVML's do.

    `slow` is waited for by one question of each sample.
    """

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0
    nvmlEventTypeXidCriticalError = 8  # noqa: N815 NVML's own name

    def __init__(
        self,
        gpus: int = 1,
        broken: tuple[str, ...] = (),
        slow: Callable[[], object] = lambda: None,
    ) -> None:
        self._answers: dict[str, Any] = {**GPU, "nvmlDeviceGetCount": gpus}
        self.broken = broken
        self._slow = slow

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The function of this name."""
        answer = self._answers[name]

        def question(*_: object) -> Any:
            if name in self.broken:
                raise RuntimeError("GPU is lost")
            if name == "nvmlDeviceGetTemperature":
                self._slow()
            return answer

        return question
