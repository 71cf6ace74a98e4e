"""A mapped file that is overwritten is noticed; one that is replaced or touched is left alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from engine.node.file_watch import FileWatch
from tests.engine.node.test_file_check import weights


class Watch:
    """A watch on one file of one instance, and what it reported."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(b"registered")
        os.utime(path, ns=(0, 1))
        self.path = path
        self.said: list[tuple[str, str]] = []
        self.gone: list[tuple[str, str]] = []
        self.watch = FileWatch(
            lambda name, reason: self.said.append((name, reason)),
            lambda name, path: self.gone.append((name, path)),
        )

    async def look(self, *names: str) -> list[tuple[str, str]]:
        """Look, and read what has changed to the end."""
        await self.watch.look(names or ("ops:1",))
        reading = [task for task in asyncio.all_tasks() if task.get_name() == "ops:1"]
        await asyncio.gather(*reading)
        return self.said


@pytest.fixture
async def one(tmp_path: Path) -> Watch:
    """An instance has just mapped the file."""
    made = Watch(tmp_path / "a.gguf")
    await made.watch.opened("ops:1", weights(made.path))
    return made


async def test_a_file_that_is_overwritten_in_place_is_reported_once(one: Watch) -> None:
    """With the hashes, and what to do."""
    assert await one.look() == []
    one.path.write_bytes(b"overwritten")
    ((name, reason),) = await one.look()
    assert name == "ops:1"
    assert reason.startswith(f"{one.path} was overwritten while it was served: its SHA-256 is ")
    assert reason.endswith("add it again, or add this one as a new version")
    assert len(await one.look()) == 1


async def test_a_file_of_the_same_content_is_read_once(one: Watch) -> None:
    """A backup that sets times, a copy over itself: not a fault, and not read at each look."""
    os.utime(one.path, ns=(0, 2))
    assert await one.look() == []
    await one.watch.look(["ops:1"])
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "ops:1"]
    one.path.write_bytes(b"overwritten")
    assert len(await one.look()) == 1


@pytest.mark.parametrize("replaced", [True, False])
async def test_a_file_that_is_replaced_or_removed_stays_mapped(
    one: Watch, tmp_path: Path, *, replaced: bool
) -> None:
    """The worker keeps the old one; the next start finds out."""
    with one.path.open("rb"):  # as a mapping does, it keeps the inode from being used again
        one.path.unlink()
        if replaced:
            (tmp_path / "new").write_bytes(b"another")
            (tmp_path / "new").rename(one.path)
        assert await one.look() == []


async def test_each_part_of_a_split_model_is_looked_at(tmp_path: Path) -> None:
    """The part that is gone is reported, then the next one, then that all are back."""
    parts = [tmp_path / "a-00001-of-00002.gguf", tmp_path / "a-00002-of-00002.gguf"]
    for part in parts:
        part.write_bytes(part.name.encode())
        os.utime(part, ns=(0, 1))
    one = Watch(tmp_path / "other")
    await one.watch.opened("ops:1", weights(*parts))
    parts[1].rename(tmp_path / "aside")
    assert await one.look() == []
    parts[0].rename(tmp_path / "aside too")
    await one.look()
    (tmp_path / "aside too").rename(parts[0])
    (tmp_path / "aside").rename(parts[1])
    await one.look()
    assert one.gone == [("ops:1", str(parts[1])), ("ops:1", str(parts[0])), ("ops:1", "")]
    parts[1].write_bytes(b"overwritten")
    ((_, reason),) = await one.look()
    assert reason.startswith(f"{parts[1]} was overwritten while it was served")


async def test_what_does_not_run_any_more_is_not_looked_at(one: Watch) -> None:
    """Its file may change."""
    await one.look("another:1")
    one.path.write_bytes(b"overwritten")
    assert await one.look() == []


async def test_a_file_that_is_removed_under_its_instance_is_reported_once(one: Watch) -> None:
    """And again when it is back, so that the trouble ends."""
    kept = one.path.with_suffix(".kept")
    one.path.rename(kept)
    for _ in range(2):
        assert await one.look() == []
    assert one.gone == [("ops:1", str(one.path))]
    kept.rename(one.path)
    assert await one.look() == []
    assert one.gone[1:] == [("ops:1", "")]
