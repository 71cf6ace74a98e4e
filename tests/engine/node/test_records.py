"""What the node writes down, and what it lets go of so that the rest can be written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from engine.node.records import Records
from engine.node.specs import Fact
from storage import errors, processes
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home


async def test_a_fact_that_can_never_be_written_blocks_none_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped alone, and the log says so."""
    declare = processes.declare

    async def strict(session: Any, **fields: Any) -> Any:
        if fields["name"] == "impossible":
            raise errors.Invalid("no record may hold this")
        return await declare(session, **fields)

    monkeypatch.setattr(processes, "declare", strict)
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    records = Records(store, now_us=lambda: 9, owed=None)
    for name in ("control", "impossible", "runner"):
        records.tell(Fact(name, "control", "starting", pid=1))
    writing = asyncio.create_task(records.run())
    await records.flush(20)
    writing.cancel()
    async with store.read() as session:
        written = [process.name for process in await processes.every(session)]
    await store.close()
    assert (written, records.trouble) == (["control", "runner"], None)


async def test_a_crash_is_written_with_the_next_start(tmp_path: Path) -> None:
    """None where there will be none, and none once it was started."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    records = Records(store, now_us=lambda: 9_000_000, owed=None)
    writing = asyncio.create_task(records.run())
    found: list[int | None] = []
    facts: tuple[tuple[str, dict[str, Any]], ...] = (
        ("starting", {}),
        ("crashed", {"backoff_us": 500_000}),
        ("starting", {}),
        ("crashed", {}),
    )
    for state, more in facts:
        records.tell(Fact("ops-1.0.0:1", "worker", state, pid=1, **more))
        await records.flush(20)
        async with store.read() as session:
            (row,) = await processes.every(session)
        found.append(row.starts_at_us)
    writing.cancel()
    await store.close()
    assert found == [None, 9_500_000, None, None]


async def test_a_silence_is_written_with_its_beginning_and_ends_with_the_next_state(
    tmp_path: Path,
) -> None:
    """The row of a process says since when it gives no sign of life, and nothing once it does."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    records = Records(store, now_us=lambda: 9_000_000, owed=None)
    writing = asyncio.create_task(records.run())
    found: list[tuple[int | None, str | None]] = []
    facts: tuple[tuple[str, dict[str, Any]], ...] = (
        ("starting", {}),
        ("ready", {}),
        ("ready", {"silent_us": 1_500_000, "reason": "its heartbeats stopped"}),
        ("ready", {}),
        ("ready", {"silent_us": 2_000_000}),
        ("crashed", {"reason": "it was killed by SIGKILL"}),
    )
    for state, more in facts:
        records.tell(Fact("ops-1.0.0:1", "worker", state, pid=1, **more))
        await records.flush(20)
        async with store.read() as session:
            (row,) = await processes.every(session)
        found.append((row.silent_since_us, row.reason))
    writing.cancel()
    await store.close()
    assert found == [
        (None, None),
        (None, None),
        (7_500_000, "its heartbeats stopped"),
        (None, None),
        (7_000_000, None),
        (None, "it was killed by SIGKILL"),
    ]
