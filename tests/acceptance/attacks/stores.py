"""A store that is locked, gone or full of foreign bytes while the box serves."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from storage.home.paths import Home
from tests.acceptance.attacks import attack
from tests.acceptance.attacks.attack import Target


@attack.attack
async def a_locked_store(target: Target) -> str:
    """A writer that holds its transaction."""
    held = sqlite3.connect(Home(Path(target.home)).database, timeout=30, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    await _until_cancelled()
    held.execute("ROLLBACK")
    held.close()
    return "held"


@attack.attack
async def a_store_that_vanishes(target: Target) -> str:
    """The file is moved away, and moved back at the end."""
    database = Home(Path(target.home)).database
    aside = database.with_suffix(".aside")
    database.rename(aside)
    await _until_cancelled()
    made = database.exists()
    aside.rename(database)
    return "another store was made in its place" if made else "no other store was made"


@attack.attack
async def a_reader_that_never_ends(target: Target) -> str:
    """A read transaction that keeps the log from being folded in."""
    reader = sqlite3.connect(Home(Path(target.home)).database, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM requests").fetchall()
    await _until_cancelled()
    reader.close()
    return "held"


async def _until_cancelled() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
