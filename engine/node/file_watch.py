"""Watches the model files that running workers have mapped.

Weights are mapped, not copied: a file that is overwritten in place changes under the model that
serves it, without any error. A file that was replaced or removed does not, since the mapping keeps
the old one; but the next start would fail, so a missing file is reported. Looked at by size and
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
from storage.model_files import ModelFile

_log = structlog.get_logger("node.files")


@dataclass(frozen=True, slots=True)
class _Mapped:
    """A file as it was when it was mapped, or last found unchanged."""

    registered: ModelFile
    file: tuple[int, int]
    content: tuple[int, int]


_Key = tuple[str, str]
"""The name of an instance, and the path of a file that it has mapped."""


class FileWatch:
    """The files that instances have mapped, each by itself.

    `overwritten` is called with the instance's name and the reason, once per instance; `missing`
    with the name and the path when a file is removed, and with the name and "" when all are there.
    """

    def __init__(
        self, overwritten: Callable[[str, str], None], missing: Callable[[str, str], None]
    ) -> None:
        self._overwritten = overwritten
        self._missing = missing
        self._gone: dict[str, str] = {}
        self._mapped: dict[_Key, _Mapped] = {}
        self._reading: dict[_Key, asyncio.Task[None]] = {}

    async def opened(self, name: str, weights: Weights) -> None:
        """An instance is about to map these files."""
        self._forget(name)
        for file in weights.files:
            if (found := await asyncio.to_thread(_look, file)) is not None:
                self._mapped[name, file.path] = found

    async def look(self, names: Collection[str]) -> None:
        """Check the files of these instances; the others have ended."""
        self._mapped = {key: each for key, each in self._mapped.items() if key[0] in names}
        mapped = dict(self._mapped)
        now = await asyncio.to_thread(
            lambda: {key: _look(each.registered) for key, each in mapped.items()}
        )
        self._tell_missing([key for key, found in now.items() if found is None])
        for key, found in now.items():
            before = self._mapped.get(key)
            if found is None or before is None or found.file != before.file:
                continue
            if found.content != before.content and key not in self._reading:
                self._reading[key] = asyncio.create_task(self._read(key, found), name=key[0])

    def _tell_missing(self, missing: Collection[_Key]) -> None:
        """Of several missing files of an instance the first is reported."""
        gone: dict[str, str] = {}
        for name, path in missing:
            gone.setdefault(name, path)
        for name, path in gone.items():
            if self._gone.get(name) != path:
                _log.error("the file of a running model is gone", instance=name, path=path)
                self._missing(name, path)
        running = {name for name, _ in self._mapped}
        for name in sorted((self._gone.keys() - gone.keys()) & running):
            self._missing(name, "")
        self._gone = gone

    async def _read(self, key: _Key, found: _Mapped) -> None:
        name, path = key
        _log.warning("a mapped file has changed", instance=name, path=path)
        try:
            reason = await file_check.overwritten(found.registered)
        finally:
            del self._reading[key]
        if key not in self._mapped:
            return
        if reason is None:
            self._mapped[key] = found
        else:
            self._forget(name)
            self._overwritten(name, reason)

    def _forget(self, name: str) -> None:
        self._mapped = {key: each for key, each in self._mapped.items() if key[0] != name}


def _look(file: ModelFile) -> _Mapped | None:
    try:
        found = Path(file.path).stat()
    except OSError:
        return None
    return _Mapped(file, (found.st_dev, found.st_ino), (found.st_size, found.st_mtime_ns))
