"""What the doctor says of what the box keeps."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.doctor import examination, records
from app.doctor.finding import Finding, Level
from storage import keys, ledger
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Session, Store

DAY_US = 24 * 3_600 * 1_000_000
NOW_US = 1_000 * DAY_US


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store of its own."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))
    yield opened
    await opened.close()


async def examined(home: Home) -> list[Finding]:
    """All findings."""
    return [each async for each in examination.examine(home, lambda: NOW_US)]


async def findings(store: Store) -> dict[str, Finding]:
    """What is found, by its subject."""
    return {each.subject: each for each in records.judge(await records.read(store, NOW_US))}


async def test_a_new_box_lacks_a_backup_and_keys(store: Store) -> None:
    """Both are said with the command that makes one."""
    found = await findings(store)
    assert found["store"].level is Level.OK
    assert (found["backup"].level, "paddock backup" in found["backup"].advice) == (
        Level.WARNING, True,
    )  # fmt: skip
    assert (found["alerts"].level, "receivers add" in found["alerts"].advice) == (
        Level.WARNING, True,
    )  # fmt: skip
    assert (found["keys"].level, "paddock keys create" in found["keys"].advice) == (
        Level.WARNING, True,
    )  # fmt: skip


@pytest.mark.parametrize(("age_days", "level"), [(1, Level.OK), (8, Level.WARNING)])
async def test_an_old_backup_is_a_warning(store: Store, age_days: int, level: Level) -> None:
    """A week is old."""

    async def work(s: Session) -> None:
        await ledger.write(
            s, actor="kim", verb="store.backup", noun="store", key="x", before=None,
            after="/backup", at_us=NOW_US - age_days * DAY_US,
        )  # fmt: skip

    await store.write(work)
    assert (await findings(store))["backup"].level is level


async def test_a_clock_that_was_set_back_is_a_problem(store: Store) -> None:
    """The store has entries that have not happened yet."""

    async def work(s: Session) -> None:
        await ledger.write(
            s, actor="kim", verb="box.freeze", noun="box", key="box", before=None, after="x",
            at_us=NOW_US + DAY_US,
        )  # fmt: skip

    await store.write(work)
    assert (await findings(store))["clock"].level is Level.PROBLEM


async def test_a_client_s_key_is_enough(store: Store) -> None:
    """An active one; a revoked one is none."""

    async def add(s: Session) -> None:
        await keys.add(
            s, name="web", prefix="pk-abcdefgh", mac="0" * 64, role=keys.Role.CLIENT,
            tenant="web", synthetic=False, actor="kim", at_us=1,
        )  # fmt: skip

    await store.write(add)
    assert (await findings(store))["keys"].sentence == "1 key active."
    await store.write(lambda s: keys.revoke(s, "web", actor="kim", at_us=2))
    assert (await findings(store))["keys"].level is Level.WARNING


async def test_a_home_without_a_box_is_examined_as_far_as_that_goes(tmp_path: Path) -> None:
    """The machine is looked at all the same."""
    found = await examined(Home(tmp_path / "none"))
    assert found[0].sentence.startswith("There is no box in")
    assert {"disk", "memory", "files", "clock"} <= {each.subject for each in found}


async def test_a_stopped_box_is_examined(store: Store) -> None:
    """Its store is checked, and its node does not run."""
    found = await examined(store.home)
    assert {each.subject for each in found} >= {"home", "store", "backup", "keys", "node"}
    node = next(each for each in found if each.subject == "node")
    assert (node.level, "paddock serve" in node.advice) == (Level.PROBLEM, True)


async def test_a_home_that_others_may_read_is_a_problem(store: Store) -> None:
    """Prompts and answers are in it; that it belongs to its owner is not assumed."""
    first = (await examined(store.home))[0]
    assert (first.level, "open to its owner alone" in first.sentence) == (Level.OK, True)
    store.home.root.chmod(0o755)
    first = (await examined(store.home))[0]
    assert first.level is Level.PROBLEM
    assert f"{store.home.root} is open to more people" in first.sentence


async def test_an_entry_that_was_changed_is_a_problem(store: Store) -> None:
    """Though the file is whole for SQLite."""

    async def work(s: Session) -> None:
        await ledger.write(
            s, actor="kim", verb="box.freeze", noun="box", key="box", before=None, after="x",
            at_us=1,
        )  # fmt: skip

    await store.write(work)
    assert (await findings(store))["ledger"].sentence == "1 entry, none changed."
    with contextlib.closing(sqlite3.connect(store.home.database)) as file:
        file.executescript("DROP TRIGGER ledger_keeps_update; UPDATE ledger SET actor = 'sara';")
    found = await findings(store)
    assert (found["store"].level, found["ledger"].level) == (Level.OK, Level.PROBLEM)


async def test_a_damaged_store_is_named(store: Store) -> None:
    """With the way back."""
    home = store.home
    await store.close()
    content = bytearray(home.database.read_bytes())
    content[:100] = b"x" * 100
    home.database.write_bytes(content)
    found = await examined(home)
    assert any(each.subject == "store" and each.level is Level.PROBLEM for each in found)
