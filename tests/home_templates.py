"""Homes that are furnished once in a test process, and copied for each test that begins with one.

Imported by tests.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Store


class Template:
    """A home whose store `furnish` fills when the first copy is asked for."""

    def __init__(self, furnish: Callable[[Store], Awaitable[None]]) -> None:
        self._furnish = furnish
        self._made: Path | None = None

    async def copy(self, root: Path) -> Home:
        """A copy for one test; no process has it open."""
        if self._made is None:
            self._made = await self._make()
        shutil.copytree(self._made, root, ignore=shutil.ignore_patterns("run"), dirs_exist_ok=True)
        return homes.make(Home(root))

    async def _make(self) -> Path:
        folder = tempfile.TemporaryDirectory()
        atexit.register(folder.cleanup)
        home = homes.make(Home(Path(folder.name) / "home"))
        store = await stores.open(home)
        try:
            await self._furnish(store)
        finally:
            await store.close()
        return home.root
