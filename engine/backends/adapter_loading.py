"""Which adapters a worker should have loaded, was asked to load, has loaded, and failed to load.

A worker is asked once per adapter and connection. An adapter that is no longer wanted is unloaded
when no request uses it. A failed adapter is asked for again after a while: the file may appear
later, and memory may become free. Never touches the connection. Imported by
`engine.backends.worker_client`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from engine.serving import wire

RETRY_S: Final = 60.0


class AdapterLoading:
    """By adapter name; "" is the base, always loaded while connected.

    `loaded` holds the adapters that produce tokens, `failed` the others' reasons.
    """

    def __init__(
        self,
        send: Callable[[wire.LoadAdapter | wire.UnloadAdapter], None],
        in_use: Callable[[str], bool],
    ) -> None:
        """Not connected; `send` queues an item for the worker, `in_use` looks at the requests."""
        self._send = send
        self._in_use = in_use
        self._wanted: dict[str, wire.LoadAdapter] = {}
        self._asked: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._connected = False
        self.loaded: set[str] = set()
        self.failed: dict[str, str] = {}

    def want(self, adapters: Mapping[str, wire.LoadAdapter]) -> None:
        """Set all adapters that should be loaded from now on."""
        for adapter in self._wanted.keys() - adapters.keys():
            self._forget(adapter)
        self._wanted = dict(adapters)
        self._ask()
        self.unload_unused()

    def want_also(self, wanted: wire.LoadAdapter) -> None:
        """One more adapter should be loaded, until the next `want`."""
        self._wanted[wanted.adapter] = wanted
        self._ask()

    def unload_unused(self) -> None:
        """Unload the adapters that are neither wanted nor used."""
        for adapter in self.loaded - self._wanted.keys() - {""}:
            if not self._in_use(adapter):
                self.loaded.discard(adapter)
                self._asked.discard(adapter)
                self._send(wire.UnloadAdapter(adapter))

    def wants(self, adapter: str) -> bool:
        """Whether the adapter should be loaded."""
        return adapter in self._wanted

    def on_connected(self, adapters: tuple[str, ...]) -> None:
        """Connected to a worker that has these loaded."""
        self._connected = True
        self.loaded = {*adapters, ""}
        self.failed.clear()
        self._ask()
        self.unload_unused()

    def on_disconnected(self) -> None:
        """The connection ended; the failures remain known until the next one."""
        self._connected = False
        self.loaded.clear()
        self._asked.clear()
        for adapter in list(self._timers):
            self._timers.pop(adapter).cancel()

    def on_loaded(self, adapter: str) -> None:
        """The worker loaded it."""
        self.failed.pop(adapter, None)
        self.loaded.add(adapter)
        self.unload_unused()

    def on_failed(self, adapter: str, reason: str) -> None:
        """The worker could not load it, or had to give it up."""
        self.loaded.discard(adapter)
        self.failed[adapter] = reason
        if adapter in self._wanted and adapter not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[adapter] = loop.call_later(RETRY_S, self._retry, adapter)

    def _retry(self, adapter: str) -> None:
        del self._timers[adapter]
        self._asked.discard(adapter)
        self._ask()

    def _forget(self, adapter: str) -> None:
        self._asked.discard(adapter)
        self.failed.pop(adapter, None)
        if (timer := self._timers.pop(adapter, None)) is not None:
            timer.cancel()

    def _ask(self) -> None:
        for adapter, wanted in self._wanted.items():
            if self._connected and adapter not in self._asked | self.loaded:
                self._asked.add(adapter)
                self._send(wanted)
