"""Samples the GPUs through NVML. A machine without a driver has none, which is not an error.

A GPU may fall off the bus, a card (especially a MIG slice or a vGPU) may lack a metric, the driver
may be updated: a value that cannot be read is None, never zero, and nothing is raised. A card that
is lost has no sample, and is looked for again by its index every minute. NVML calls can hang, so
everything except `due` is called off the loop. Imported by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from engine.metering.gpu_errors import Xids, ask

if TYPE_CHECKING:  # the node asks for devices, and starts sooner without the records of requests
    from storage.samples import GpuProcess, GpuSample

_PROCESSES: Final = 16
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


def free_bytes(nvml: Callable[[], Any] = library) -> list[tuple[int, int]]:
    """The free memory of each GPU by its index, asked now; empty without a driver."""
    try:
        module = nvml()
        module.nvmlInit()
    except Exception:  # noqa: BLE001 any error means that there is no usable driver
        return []
    try:
        found = []
        for index in range(ask(module.nvmlDeviceGetCount, default=0)):
            handle = ask(module.nvmlDeviceGetHandleByIndex, index, default=None)
            memory = None
            if handle is not None:
                memory = ask(module.nvmlDeviceGetMemoryInfo, handle, default=None)
            if memory is not None:
                found.append((index, int(memory.total) - int(memory.used)))
        return found
    finally:
        ask(module.nvmlShutdown, default=None)  # counted: others that began keep it


class Gpus:
    """Samples all GPUs; retries every minute while there is no driver."""

    def __init__(
        self, *, monotonic_us: Callable[[], int], nvml: Callable[[], Any] = library
    ) -> None:
        self._now = monotonic_us
        self._library = nvml
        self._nvml: Any = None
        self._handles: list[Any] = []
        self._xids: Xids | None = None
        self._look_us = 0

    def due(self) -> bool:
        """Whether a sample is due; never calls NVML."""
        return self._nvml is not None or self._now() >= self._look_us

    def sample(self) -> list[GpuSample]:
        """All GPUs now; empty without any."""
        if self._nvml is None and not self._begin():
            return []
        xids = {} if self._xids is None else self._xids.since_last()
        samples = []
        for index, handle in enumerate(self._handles):
            sample = self._one(index, handle, xids.get(index))
            if sample is not None:
                samples.append(sample)
        missing = len(samples) < len(self._handles)
        if missing and (not samples or self._now() >= self._look_us):
            self.close()  # the driver or a card is gone: begin again, later if all are
            if samples:
                self._look_us = 0
        return samples

    def close(self) -> None:
        """Shut NVML down."""
        if self._xids is not None:
            self._xids.close()
        if self._nvml is not None:
            ask(self._nvml.nvmlShutdown, default=None)
        self._nvml = self._xids = None
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
            handles = [ask(nvml.nvmlDeviceGetHandleByIndex, n, default=None) for n in range(count)]
        except Exception as error:  # noqa: BLE001 any error means that there is no usable driver
            _log.debug("no GPU is measured", reason=str(error))
            return False
        if not any(handle is not None for handle in handles):
            return False
        self._nvml, self._handles = nvml, handles
        self._xids = Xids(nvml, handles)
        _log.info("GPUs are measured", count=count)
        return True

    def _one(self, index: int, handle: Any, xids: tuple[int, ...] | None) -> GpuSample | None:
        nvml = self._nvml
        memory = None if handle is None else ask(nvml.nvmlDeviceGetMemoryInfo, handle, default=None)
        if memory is None:
            return None
        name = ask(nvml.nvmlDeviceGetName, handle, default="GPU")
        rates = ask(nvml.nvmlDeviceGetUtilizationRates, handle, default=None)
        throttle = ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle, default=None)
        if throttle is None:  # the name before driver 535
            throttle = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle, default=0)
        celsius, sm = nvml.NVML_TEMPERATURE_GPU, nvml.NVML_CLOCK_SM
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
            energy_mj=self._whole(nvml.nvmlDeviceGetTotalEnergyConsumption, handle),
            clock_mhz=self._whole(nvml.nvmlDeviceGetClockInfo, handle, sm),
            clock_max_mhz=self._whole(nvml.nvmlDeviceGetMaxClockInfo, handle, sm),
            memory_clock_mhz=self._whole(
                nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM
            ),
            xids=xids,
            ecc_uncorrected=self._whole(
                nvml.nvmlDeviceGetTotalEccErrors, handle,
                nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC,
            ),
            processes=self._processes(handle),
        )  # fmt: skip

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...] | None:
        from storage.samples import GpuProcess  # noqa: PLC0415 as GpuSample

        found = ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle, default=None)
        if found is None:
            return None
        known = [
            GpuProcess(each.pid, None if each.usedGpuMemory is None else int(each.usedGpuMemory))
            for each in found
        ]
        return tuple(sorted(known, key=lambda each: -(each.memory or 0))[:_PROCESSES])

    @staticmethod
    def _whole(question: Callable[..., Any], *arguments: Any) -> int | None:
        answer = ask(question, *arguments, default=None)
        return None if answer is None else int(answer)
