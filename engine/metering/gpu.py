"""Samples the GPUs through NVML. A machine without a driver has none, which is not an error.

A GPU may fall off the bus, a card (a MIG slice or a vGPU above all) may lack a metric, the driver
may be updated meanwhile: what cannot be read is None, never zero, and nothing is raised. NVML calls
can hang, so everything except `due` is called off the loop. Imported by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:  # the node asks for devices, and starts sooner without the records of requests
    from storage.samples import GpuSample

_AGAIN_US: Final = 60_000_000
_THROTTLES: Final = {
    0x0000000000000004: "power cap",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "thermal, software",
    0x0000000000000040: "thermal, hardware",
    0x0000000000000080: "power brake",
}

_log = structlog.get_logger("metering.gpu")


def library() -> Any:
    """NVML's module, imported on first use."""
    import pynvml  # noqa: PLC0415 a box without a GPU need not load it

    return pynvml


class Gpus:
    """Samples all GPUs; retries every minute while there is no driver."""

    def __init__(
        self, *, monotonic_us: Callable[[], int], nvml: Callable[[], Any] = library
    ) -> None:
        self._now = monotonic_us
        self._library = nvml
        self._nvml: Any = None
        self._handles: list[Any] = []
        self._look_us = 0

    def due(self) -> bool:
        """Whether a sample is due; never calls NVML."""
        return self._nvml is not None or self._now() >= self._look_us

    def sample(self) -> list[GpuSample]:
        """All GPUs now; empty without any."""
        if self._nvml is None and not self._begin():
            return []
        samples = []
        for index, handle in enumerate(self._handles):
            sample = self._one(index, handle)
            if sample is not None:
                samples.append(sample)
        if self._handles and not samples:
            self.close()  # the driver is gone: retry later
        return samples

    def close(self) -> None:
        """Shut NVML down."""
        if self._nvml is not None:
            self._ask(self._nvml.nvmlShutdown, default=None)
        self._nvml = None
        self._handles = []
        self._look_us = self._now() + _AGAIN_US

    def _begin(self) -> bool:
        if self._now() < self._look_us:
            return False
        self._look_us = self._now() + _AGAIN_US
        try:
            nvml = self._library()
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        except Exception as error:  # noqa: BLE001 any error means that there is no usable driver
            _log.debug("no GPU is measured", reason=str(error))
            return False
        self._nvml, self._handles = nvml, handles
        _log.info("GPUs are measured", count=count)
        return bool(handles)

    def _one(self, index: int, handle: Any) -> GpuSample | None:
        nvml = self._nvml
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle, default=None)
        if memory is None:
            return None
        name = self._ask(nvml.nvmlDeviceGetName, handle, default="GPU")
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle, default=None)
        throttle = self._ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle, default=None)
        if throttle is None:  # the name before driver 535
            throttle = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle, default=0)
        celsius = nvml.NVML_TEMPERATURE_GPU
        from storage.samples import GpuSample  # noqa: PLC0415 loaded where a GPU is sampled

        return GpuSample(
            index=index,
            name=name.decode(errors="replace") if isinstance(name, bytes) else str(name),
            utilisation_percent=None if rates is None else float(rates.gpu),
            memory_used=int(memory.used),
            memory_total=int(memory.total),
            power_mw=self._whole(nvml.nvmlDeviceGetPowerUsage, handle),
            power_limit_mw=self._whole(nvml.nvmlDeviceGetEnforcedPowerLimit, handle),
            temperature_c=self._whole(nvml.nvmlDeviceGetTemperature, handle, celsius),
            throttle=tuple(word for bit, word in _THROTTLES.items() if int(throttle) & bit),
        )

    @classmethod
    def _whole(cls, question: Callable[..., Any], *arguments: Any) -> int | None:
        answer = cls._ask(question, *arguments, default=None)
        return None if answer is None else int(answer)

    @staticmethod
    def _ask(question: Callable[..., Any], *arguments: Any, default: Any) -> Any:
        try:
            return question(*arguments)
        except Exception:  # noqa: BLE001 NVML's errors, and functions missing in the driver
            return default
