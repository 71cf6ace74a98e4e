"""Whether the model files that running workers have mapped are still what they mapped.

Weights are mapped, not copied: a file that is overwritten in place changes under the model that
serves it, without any error. A file that was replaced or removed does not, as the mapping keeps the
old one; but the next start would not find it, so a missing file is reported. Looked at by size and
time of modification; only a file that changed is read. Never stops a process itself. Imported by
`engine.node.instances`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import structlog

from engine.node import file_check
from engine.node.planning import Weights

_log = structlog.get_logger("node.files")


@dataclass(frozen=True, slots=True)
class _Mapped:
    """A file as it was when it was mapped, or last found unchanged."""

    weights: Weights
    file: tuple[int, int]
    content: tuple[int, int]


class FileWatch:
    """Files by the name of the instance that has them mapped.

    `overwritten` is called with the name and the reason, once per instance; `missing` with the name
    and the path when the file is removed, and with the name and "" when it is there again.
    """

    def __init__(
        self, overwritten: Callable[[str, str], None], missing: Callable[[str, str], None]
    ) -> None:
        self._overwritten = overwritten
        self._missing = missing
        self._gone: set[str] = set()
        self._mapped: dict[str, _Mapped] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def opened(self, name: str, weights: Weights) -> None:
        """An instance is about to map this file."""
        if (found := await asyncio.to_thread(_look, weights)) is not None:
            self._mapped[name] = found

    async def look(self, names: Collection[str]) -> None:
        """Look at the files of these instances; others do not run any more."""
        self._mapped = {name: self._mapped[name] for name in self._mapped.keys() & names}
        now = await asyncio.to_thread(
            lambda: {name: _look(mapped.weights) for name, mapped in self._mapped.items()}
        )
        self._tell_missing({name for name, found in now.items() if found is None})
        for name, found in now.items():
            before = self._mapped.get(name)
            if found is None or before is None or found.file != before.file:
                continue
            if found.content != before.content and name not in self._reading:
                self._reading[name] = asyncio.create_task(self._read(name, found), name=name)

    def _tell_missing(self, gone: set[str]) -> None:
        for name in sorted(gone - self._gone):
            path = self._mapped[name].weights.path
            _log.error("the file of a running model is gone", instance=name, path=path)
            self._missing(name, path)
        for name in sorted((self._gone - gone) & self._mapped.keys()):
            self._missing(name, "")
        self._gone = gone

    async def _read(self, name: str, found: _Mapped) -> None:
        _log.warning("a mapped file has changed", instance=name, path=found.weights.path)
        try:
            reason = await file_check.overwritten(found.weights)
        finally:
            del self._reading[name]
        if name not in self._mapped:
            return
        if reason is None:
            self._mapped[name] = found
        else:
            del self._mapped[name]
            self._overwritten(name, reason)


def _look(weights: Weights) -> _Mapped | None:
    try:
        found = Path(weights.path).stat()
    except OSError:
        return None
    file, content = (found.st_dev, found.st_ino), (found.st_size, found.st_mtime_ns)
    return _Mapped(weights, file, content)
