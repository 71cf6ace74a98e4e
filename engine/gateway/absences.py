"""Looks each second whether a deployment has no instance, and if so when it is expected back.

Reads the store only while one is absent. Imported by `engine.gateway.seconds`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from engine.backends import expected_starts
from engine.backends.expected_starts import ExpectedStarts
from storage import errors, processes
from storage.processes import Process
from storage.store import Store


class Absences:
    """Fills `starts` with what the store knows of the deployments in `absent()`."""

    def __init__(
        self,
        store: Store,
        starts: ExpectedStarts,
        absent: Callable[[], Collection[str]],
        now_us: Callable[[], int],
    ) -> None:
        """`now_us` is UTC."""
        self._store = store
        self._starts = starts
        self._absent = absent
        self._now_us = now_us

    async def look(self) -> None:
        """Once; while the store cannot be read, nothing is known."""
        absent = set(self._absent())
        found: dict[str, list[tuple[Process, int | None]]] = {name: [] for name in absent}
        if absent:
            try:
                async with self._store.read() as s:
                    for process in await processes.every(s):
                        if process.deployment in absent:
                            took_us = await processes.last_start_us(s, process.name)
                            found[process.deployment].append((process, took_us))
            except errors.StorageError:
                found = {}
        now = self._now_us()
        self._starts.expect(
            {name: expected_starts.wait_us(each, now) for name, each in found.items()}
        )
