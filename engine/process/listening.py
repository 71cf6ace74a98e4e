"""A Unix socket that keeps its place in the file system while its process lives.

If the file is removed or replaced, the socket is bound there again within a second; connections
that exist are not touched. Imported by the servers of Unix sockets that run an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from storage.home import paths
from storage.home.paths import PRIVATE

LOOK_S: Final = 0.5

_log = structlog.get_logger("listening")

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listening:
    """Listens from `start` to `stop`. `admit` opens the file, which is made private, to others.

    With `folder` the socket's directory is made again, too.
    """

    def __init__(
        self,
        path: Path,
        serve: Serve,
        *,
        folder: bool = False,
        admit: Callable[[], None] = lambda: None,
        limit: int = 1 << 16,
        backlog: int = 1024,
    ) -> None:
        self._path = path
        self._serve = serve
        self._folder = folder
        self._admit = admit
        self._limit = limit
        self._backlog = backlog
        self._server: asyncio.Server | None = None
        self._place: tuple[int, int] | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, in place of an earlier process, which has ended.

        Raises:
            OSError: the socket cannot be made.
        """
        await self._bind()
        self._keeping = asyncio.create_task(self._keep(), name=f"keep {self._path.name}")

    def stop(self) -> None:
        """Accept nothing more and remove the file; connections continue."""
        if self._keeping is not None:
            self._keeping.cancel()
        if self._server is not None and place(self._path) == self._place:
            self._path.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()

    async def _bind(self) -> None:
        _clear(self._path)
        listening = socket.socket(socket.AF_UNIX)
        try:
            with paths.short(self._path) as address:
                mask = os.umask(0o177)
                try:
                    listening.bind(address)
                finally:
                    os.umask(mask)
            self._admit()
        except OSError:
            listening.close()
            raise
        before, self._place = self._server, place(self._path)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listening, limit=self._limit, backlog=self._backlog
        )
        if before is not None:
            before.close()

    async def _keep(self) -> None:
        failed = False
        while True:
            await asyncio.sleep(LOOK_S)
            if place(self._path) == self._place:
                failed = False
                continue
            try:
                if self._folder:
                    self._path.parent.mkdir(mode=PRIVATE, exist_ok=True)
                await self._bind()
            except OSError as error:
                if not failed:
                    _log.error("socket lost", path=str(self._path), error=str(error))
                failed = True
            else:
                failed = False
                _log.warning("socket bound again: its file was removed", path=str(self._path))


def place(path: Path) -> tuple[int, int] | None:
    """The identity of the file at a path; a bound socket keeps its own from being used again."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _clear(path: Path) -> None:
    """Make room for a socket; an empty directory in its place is removed, too."""
    with contextlib.suppress(FileNotFoundError):
        try:
            path.unlink()
        except (IsADirectoryError, PermissionError):
            path.rmdir()
