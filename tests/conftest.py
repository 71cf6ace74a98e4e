"""What all tests share: hypothesis' profile, ready stores, warm starts, the order of files."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from hypothesis import HealthCheck, settings

from storage import migrations
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Store
from tests import ready_stores
from tests.warm_starts import popen

# Neither is about the code under test: how fast examples are made or run is the machine's affair.
# Each run draws others: thirty a property are many in a week, and a run stays short.
settings.register_profile(
    "paddock",
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("paddock")

# Tests start hundreds of processes; each would compile what it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_LONGEST_FIRST: Final = (
    "tests/engine/node/", "tests/acceptance/", "tests/engine/gateway/", "tests/app/test_",
    "tests/engine/jobs/", "tests/runbooks/", "tests/test_", "tests/engine/control/",
    "tests/engine/prompting/", "tests/engine/backends/",
)  # fmt: skip
"""Where files take long, mostly for the processes that they start."""


@pytest.fixture(scope="session", autouse=True)
def _ready_stores() -> Iterator[None]:
    """New stores are copies of one that was migrated."""
    with ready_stores.copied():
        yield


@pytest.fixture(scope="session", autouse=True)
def _warm_starts() -> Iterator[None]:
    """The processes of a box are forked from one that has imported their libraries."""
    with popen.warm():
        yield


@pytest.fixture
def cold_starts() -> Iterator[None]:
    """In this test they are not."""
    with popen.cold():
        yield


@pytest.fixture(scope="session", autouse=True)
def _certificates_read_once() -> Iterator[None]:
    """Each client of a test would read them, which takes 20 ms, and nearly all speak plain HTTP."""
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(httpx.create_ssl_context)
        patch.setattr("httpx._transports.default.create_ssl_context", once)
        yield


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store, open; its home is `home` in the folder of the test."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))
    yield opened
    await opened.close()


@pytest.fixture
def real_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new store is migrated in its place."""
    monkeypatch.setattr(migrations, "_apply", ready_stores.MIGRATE)


def pytest_xdist_auto_num_workers() -> int | None:
    """More than cores, because a test that waits for a process leaves its core idle."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: the last one to begin is short, and the other workers wait for it."""
    items.sort(key=lambda item: _turn(item.nodeid))


def pytest_collection() -> None:
    """What is imported stays: the garbage collector need not look through it again and again."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What tests leave is collected."""
    gc.collect()
    gc.freeze()
    gc.enable()


def _turn(nodeid: str) -> int:
    matching = (turn for turn, folder in enumerate(_LONGEST_FIRST) if nodeid.startswith(folder))
    return next(matching, len(_LONGEST_FIRST))
