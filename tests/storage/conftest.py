"""A home and an open store for the tests of this floor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home of its own, made and named in the environment."""
    made = homes.make(Home(tmp_path / "home"))
    monkeypatch.setenv("PADDOCK_HOME", str(made.root))
    return made


@pytest.fixture
async def store(home: Home) -> AsyncIterator[Store]:
    """An open store on it."""
    opened = await stores.open(home)
    yield opened
    await opened.close()
