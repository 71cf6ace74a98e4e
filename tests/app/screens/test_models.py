"""The registry on the screen: the family tree, aliases, what is loaded and whether it is that."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from storage import model_aliases, models, processes
from storage.home.paths import Home
from storage.loaded import How, Loaded
from storage.models import Kind, Lineage
from storage.processes import State
from storage.store import Session, Store
from tests.app import pilot, populated_homes
from tests.storage import fixtures

pytestmark = pytest.mark.usefixtures("node")


async def scene(store: Store) -> None:
    """A line of three versions; an instance with the first one in memory, and an unknown LoRA."""
    records = await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await populated_homes.node(s)
        merged = await fixtures.model(s, "2.0.0")
        lineage = Lineage(
            parent_id=records.adapter.id, dataset="tickets@3", run=populated_homes.HOSTILE
        )
        await models.trace(s, merged.id, lineage, actor="sara", at_us=5)
        await model_aliases.point(s, "ops", "champion", merged.id, actor="sara", at_us=5)
        await models.mark_unloadable(s, records.adapter.id, "the file was replaced", 6)
        evidence = Loaded(weights=records.weights.sha256, how=How.BOUND, adapters={"a": "f" * 64})
        name = f"{records.stable.deployment}:1"
        await processes.declare(
            s, name=name, kind=processes.Kind.WORKER, at_us=5,
            deployment=records.stable.deployment, pid=9,
        )  # fmt: skip
        await processes.move(
            s, name, State.READY, at_us=6, loaded=msgspec.json.encode(evidence).decode(),
            build="llama-cpp-python 0.3.36; llama.cpp b1; CPU : AVX2",
        )  # fmt: skip

    await store.write(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with those versions."""
    return populated_homes.make(tmp_path / "home", scene)


@pytest.fixture
def bare(tmp_path: Path) -> Home:
    """A box on which nothing is registered."""

    async def empty(store: Store) -> None:
        await store.write(populated_homes.node)

    return populated_homes.make(tmp_path / "home", empty)


async def test_versions_are_listed_as_a_tree_with_what_is_loaded(home: Home) -> None:
    """At 80 columns; a version that differs in memory says so, and so does one that cannot load."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("m")
        rows = screen.text.split("\n")
        assert "3 versions, 1 loaded" in rows[1]
        assert rows[3].startswith("▸ops@1.0.0")
        assert "▲ differs" in rows[3]
        assert "└ ops@1.1.0" in rows[4]
        assert "▲ unloadable" in rows[4]
        assert "└ ops@2.0.0" in rows[5]
        assert "champion latest" in rows[5]
        text = screen.text
        assert "the adapter ffffffffffffffff… in memory is not registered" in text
        assert "same size, time and inode" in text
        assert "llama.cpp b1" in text
        await screen.press("down")
        assert "▲ the file was replaced" in screen.text
        await screen.press("down")
        assert "from ops@1.1.0, data tickets@3, run ␛]0;owned" in screen.text
        assert max(len(row) for row in screen.text.split("\n")) <= 80


async def test_a_box_without_models_says_how_to_add_one(bare: Home) -> None:
    """With the command."""
    async with pilot.at(pilot.program(bare)) as screen:
        await screen.go("m")
        assert "no models yet: `paddock models add FILE --name NAME" in screen.text


def test_the_kind_of_a_version_is_one_of_those_that_are_stored() -> None:
    """The columns are wide enough for both."""
    assert max(len(kind) for kind in Kind) <= 7
