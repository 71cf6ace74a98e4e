"""The gateway's view of the keys: what checks them may be lost and found again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from engine.execution import failures
from engine.execution.catalog import Catalog
from storage import keys
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Store
from tests import home_fixtures


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store of its own."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))
    yield opened
    await opened.close()


async def catalog(store: Store) -> Catalog:
    """A catalog that has read the store; no prompt is rendered here."""
    made = Catalog(store, cast("Any", None), on_change=lambda _: None)
    await made.refresh()
    return made


async def test_a_key_is_found_by_its_secret_alone(store: Store) -> None:
    """Not by its hash, nor by what is stored of it."""
    secret = await store.write(lambda s: home_fixtures.add_key(s, "sara"))
    found = await catalog(store)
    key = await found.key(secret)
    assert key is not None
    assert key.name == "sara"
    (mac,) = found.snapshot.keys
    for other in (keys.digest(secret), mac, secret[:-1], ""):
        assert await found.key(other) is None


async def test_a_gateway_that_lost_its_pepper_serves_from_memory(store: Store) -> None:
    """One that starts without it refuses with a word, and checks keys once it is back."""
    secret = await store.write(lambda s: home_fixtures.add_key(s, "sara"))
    running = await catalog(store)
    path = store.home.secrets / "pepper"
    away = path.rename(path.with_name("elsewhere"))
    await running.refresh()
    assert await running.key(secret) is not None
    assert "is missing" in (running.locked or "")

    started = await catalog(store)
    assert not started.checks_keys
    with pytest.raises(failures.Unavailable) as caught:
        await started.key(secret)
    assert caught.value.code == "keys_unavailable"
    away.rename(path)
    await started.look()
    assert await started.key(secret) is not None
    assert started.locked is None

    await store.write(lambda s: keys.reset(s, actor="sara", at_us=3))
    for each in (running, started):
        await each.refresh()
        assert await each.key(secret) is None
