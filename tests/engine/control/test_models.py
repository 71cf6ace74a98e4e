"""Aliases and lineage, as people ask for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from storage import models
from storage.intents import State
from tests.engine.control.test_intents import Desk, desk
from tests.storage import fixtures


@pytest_asyncio.fixture
async def control(tmp_path: Path) -> AsyncIterator[Desk]:
    """Control on a store with two versions of a model."""
    async with desk(tmp_path / "home") as made:

        async def work(s: object) -> None:
            await fixtures.model(s)  # type: ignore[arg-type]
            await fixtures.model(s, "1.1.0")  # type: ignore[arg-type]

        await made.store.write(work)
        yield made


async def test_an_alias_is_pointed_moved_and_removed(control: Desk) -> None:
    """Each outcome names what it was and what it is; asked again, nothing changes."""
    done = await control.do("models.alias", "ops", alias="champion", version="1.0.0")
    assert (done.outcome or "").startswith("ops@champion is ops@1.0.0. Releases keep")
    again = await control.do("models.alias", "ops", alias="champion", version="1.0.0")
    assert again.outcome == "ops@champion is ops@1.0.0; no change."
    moved = await control.do("models.alias", "ops", alias="champion", version="1.1.0")
    assert (moved.outcome or "").startswith("ops@champion is ops@1.1.0 (before: ops@1.0.0).")
    removed = await control.do("models.unalias", "ops", alias="champion")
    assert removed.outcome == "Removed the alias ops@champion."
    refused = await control.do("models.unalias", "ops", alias="latest")
    assert refused.state is State.REFUSED


async def test_a_lineage_with_a_cycle_is_refused(control: Desk) -> None:
    """The refusal shows the way, and what was recorded stays."""
    done = await control.do("models.trace", "ops@1.1.0", parent="ops@1.0.0", dataset="d@2")
    assert done.outcome == "Recorded the lineage of ops@1.1.0."
    refused = await control.do("models.trace", "ops@1.0.0", parent="ops@1.1.0")
    assert refused.state is State.REFUSED
    assert "(ops@1.0.0 → ops@1.1.0)" in (refused.outcome or "")
    async with control.store.read() as s:
        assert (await models.find(s, "ops@1.1.0")).dataset == "d@2"
