"""A version that is handed on is what was registered, whole, with its card."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
import yaml

from storage.intents import State
from tests.engine.control.desks import Desk, desk
from tests.home_fixtures import ADAPTER, WEIGHTS


@pytest_asyncio.fixture
async def control(tmp_path: Path) -> AsyncIterator[Desk]:
    """Weights and an adapter that was made from them."""
    async with desk(tmp_path / "home") as made:
        weights = shutil.copy(WEIGHTS, tmp_path / "w.gguf")
        asked: dict[str, Any] = {
            "model": "ops",
            "version": "1.0.0",
            "path": str(weights),
            "licence": "a | b",
        }
        await made.do("models.add", "ops", **asked)
        lineage: dict[str, Any] = {"parent": "ops@1.0.0", "dataset": "tickets@2"}
        asked = {"model": "ops", "version": "1.1.0", "path": str(ADAPTER), "base": "ops@1.0.0"}
        await made.do("models.add", "ops", **asked, **lineage)
        yield made


async def test_a_repository_has_the_file_its_hash_and_a_card(control: Desk, tmp_path: Path) -> None:
    """The card has a header that the Hub reads, and no text that breaks its tables."""
    to = tmp_path / "out" / "ops"
    done = await control.do("models.export", "ops@1.1.0", to=str(to))
    assert done.outcome == f"Exported ops@1.1.0 to {to}."
    names = sorted(path.name for path in to.iterdir())
    assert names == [".gitattributes", "README.md", "SHA256SUMS", "ops-1.1.0.gguf"]
    digest, name = (to / "SHA256SUMS").read_text().split()
    assert hashlib.sha256((to / name).read_bytes()).hexdigest() == digest
    _, head, text = (to / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head)["tags"] == ["gguf", "lora"]
    for said in ("| Parent | `ops@1.0.0` |", "| Dataset | `tickets@2` |", digest):
        assert said in text
    await control.do("models.export", "ops@1.0.0", to=str(tmp_path / "base"))
    assert "| Licence | `a / b` |" in (tmp_path / "base" / "README.md").read_text()


async def test_nothing_is_overwritten(control: Desk, tmp_path: Path) -> None:
    """An empty directory is taken; one with something in it is not."""
    to = tmp_path / "mine"
    to.mkdir()
    assert (await control.do("models.export", "ops@1.0.0", to=str(to))).state is State.APPLIED
    refused = await control.do("models.export", "ops@1.0.0", to=str(to))
    assert "it exists and is not an empty directory" in (refused.outcome or "")


async def test_a_file_that_is_not_what_was_registered_is_not_handed_on(
    control: Desk, tmp_path: Path
) -> None:
    """Its hash is taken from what was copied."""
    with (tmp_path / "w.gguf").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    refused = await control.do("models.export", "ops@1.0.0", to=str(tmp_path / "out"))
    assert "is no longer the file of ops@1.0.0" in (refused.outcome or "")
    assert not (tmp_path / "out").exists()


async def test_mlflow_is_refused_where_it_is_not_known(control: Desk) -> None:
    """With the variable to set."""
    refused = await control.do("models.export", "ops@1.0.0", to="mlflow:models:/ops")
    assert "MLFLOW_TRACKING_URI" in (refused.outcome or "")
