"""Models as people change them: aliases, lineage, files that are added again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from storage import ledger, models
from storage.intents import State
from tests.engine.control.desks import Desk, desk
from tests.home_fixtures import WEIGHTS
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


async def test_weights_that_could_not_be_loaded_are_tried_again_when_they_are_added_again(
    tmp_path: Path,
) -> None:
    """The same file under the same name; until then nothing new is split onto them."""
    weights: dict[str, Any] = {"model": "ops", "version": "1.0.0", "path": str(WEIGHTS)}
    async with desk(tmp_path / "home", furnished=True) as control:
        await control.store.write(lambda s: models.mark_unloadable(s, 1, "torn", 5))
        refused = await control.do("services.split", "support", arms={"r1": 9000, "r2": 1000})
        assert refused.state is State.REFUSED
        assert "Add the same file again" in (refused.outcome or "")
        added = await control.do("models.add", "ops", **weights)
        assert added.outcome == "ops@1.0.0 is the same file; loading it is tried again."
        split = await control.do("services.split", "support", arms={"r1": 9000, "r2": 1000})
        assert split.state is State.APPLIED
        again = await control.do("models.add", "ops", **weights)
        assert again.state is State.REFUSED
        async with control.store.read() as session:
            entry = (await ledger.of(session, "model", "1"))[0]
    assert (entry.actor, entry.after, entry.intent_id) == ("kim", "registered", added.id)


async def test_a_version_is_taken_from_another_path_with_the_same_content(tmp_path: Path) -> None:
    """Its file was moved; other content under the name is refused."""
    moved, other = tmp_path / "moved.gguf", tmp_path / "other.gguf"
    moved.write_bytes(WEIGHTS.read_bytes())
    async with desk(tmp_path / "home", furnished=True) as control:
        again: dict[str, Any] = {"model": "ops", "version": "1.0.0"}
        added = await control.do("models.add", "ops", **again, path=str(moved))
        assert added.outcome == f"ops@1.0.0 is the same file; it is now loaded from {moved}."
        with moved.open("rb") as file:
            other.write_bytes(file.read()[:-1] + b"x")
        refused = await control.do("models.add", "ops", **again, path=str(other))
        assert refused.state is State.REFUSED
        assert "versions never change" in (refused.outcome or "")
        async with control.store.read() as session:
            assert (await models.get(session, 1)).path == str(moved)
