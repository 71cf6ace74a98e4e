"""Boxes for the tests of verbs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.engine.control.desks import Desk, desk


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """A box with the service `support` on r1, for tests that change nothing."""
    async with desk(tmp_path_factory.mktemp("box") / "home", furnished=True) as made:
        yield made


@pytest.fixture
async def furnished(tmp_path: Path) -> AsyncIterator[Desk]:
    """A box with the service `support` on r1, and r2 beside it."""
    async with desk(tmp_path / "home", furnished=True) as made:
        yield made
