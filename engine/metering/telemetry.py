"""The host and its GPUs, sampled at each full second and written to the store.

A second that could not be written is missing, never estimated. Imported by `engine.control`.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable
from typing import Final

import structlog

from engine.metering.gpu import Gpus
from engine.metering.host import Host
from storage import errors, samples
from storage.samples import GpuSample, Kind, Sample
from storage.store import Session, Store

NVML_S: Final = 0.5
_SECOND_US: Final = 1_000_000

_log = structlog.get_logger("control.telemetry")


class Telemetry:
    """Samples until it is cancelled."""

    def __init__(
        self,
        store: Store,
        host: Host,
        gpus: Gpus,
        *,
        now_us: Callable[[], int],
        every_s: int = 1,
    ) -> None:
        self._store = store
        self._host = host
        self._gpus = gpus
        self._now_us = now_us
        self._every_us = every_s * _SECOND_US
        self._subject = platform.node() or "host"
        self._missed = False
        self._sampling: asyncio.Task[list[GpuSample]] | None = None

    async def run(self) -> None:
        """Sample until cancelled; a clock that jumps changes timestamps, not the rate."""
        while True:
            await asyncio.sleep((self._every_us - self._now_us() % self._every_us) / 1e6)
            await self.once()

    async def once(self) -> None:
        """Take and store the samples of one second."""
        second = self._now_us() // _SECOND_US
        found: list[tuple[Kind, str, Sample]] = [(Kind.HOST, self._subject, self._host.sample())]
        found += [(Kind.GPU, str(sample.index), sample) for sample in await self._of_gpus()]

        async def work(session: Session) -> None:
            await samples.record(session, second, found)

        try:
            await self._store.write(work, nudge=False)
        except errors.StorageError as error:
            if not self._missed:
                _log.warning("samples are not written", error=str(error))
            self._missed = True
        else:
            self._missed = False

    async def _of_gpus(self) -> list[GpuSample]:
        """NVML may hang: it runs in a thread, and its result is awaited for half a second."""
        if self._sampling is None and self._gpus.due():
            self._sampling = asyncio.create_task(asyncio.to_thread(self._gpus.sample))
        if self._sampling is None:
            return []
        done, _ = await asyncio.wait({self._sampling}, timeout=NVML_S)
        if not done:
            return []
        samples, self._sampling = self._sampling.result(), None
        return samples
