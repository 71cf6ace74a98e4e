"""A node whose store is moved away, put back and restored while it runs."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage import errors, intents, ledger
from storage import store as stores
from storage.control_socket import client
from storage.home import paths as homes
from storage.processes import Process, State
from tests.engine.node.nodes import BOUND_S, RealNode, opened

PROMPT = {"prompt": "p", "messages": [{"role": "system", "template": "x"}]}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RealNode]:
    """A node that serves nothing yet, with all of its processes."""
    made = RealNode(tmp_path / "home")
    made.start()
    await made.until(all_ready)
    yield made
    made.end()


def all_ready(parts: dict[str, Process]) -> bool:
    """Whether gateway, control and runner are ready."""
    return {name for name, part in parts.items() if part.state is State.READY} >= {
        "gateway", "control", "runner",
    }  # fmt: skip


async def until(node: RealNode, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the node says of itself, without its store, as soon as `holds` is true of it."""
    async with asyncio.timeout(BOUND_S):
        while not holds(said := await client.state(node.home)):
            await node.next_change()
    return said


def control(said: dict[str, Any]) -> dict[str, Any]:
    """The process of the controllers."""
    return next(each for each in said["processes"] if each["name"] == "control")


async def test_a_node_without_its_store_stores_nothing_and_takes_it_back(
    node: RealNode, tmp_path: Path
) -> None:
    """It runs on and says why nothing is stored; a process that dies makes no other store.

    After a restore the store knows the processes of this run, and intents are carried out.
    """
    database, backup, away = node.home.database, tmp_path / "backup.db", tmp_path / "away.db"
    with closing(sqlite3.connect(database)) as bare:
        bare.execute("VACUUM INTO ?", (str(backup),))
    database.rename(away)
    said = await until(node, lambda said: "paddock.db is gone" in (said["trouble"] or ""))
    with pytest.raises(errors.Unavailable, match="paddock restore"):
        await client.ask(node.home, "prompts.add", "p", PROMPT)
    os.kill(control(said)["pid"], signal.SIGKILL)
    await until(node, lambda said: control(said)["restarts"] > 0)
    assert not database.exists()
    away.rename(database)
    await until(node, lambda said: said["trouble"] is None)
    await node.until(lambda parts: all_ready(parts) and parts["control"].restarts > 0)

    for path in (database, *homes.beside(database)):
        path.rename(tmp_path / f"aside-{path.name}")
    before = control(await client.state(node.home))["restarts"]
    await asyncio.to_thread(stores.restore, node.home, backup)
    parts = await node.until(lambda parts: all_ready(parts) and parts["control"].restarts > before)
    said = await client.state(node.home)
    assert {name: part.pid for name, part in parts.items()} == {
        each["name"]: each["pid"] for each in said["processes"]
    }
    assert (await node.do("prompts.add", "p", PROMPT)).state is intents.State.APPLIED
    async with opened(node.home) as store, store.read() as session:
        (restore,) = await ledger.of(session, "store", store.id[:8])
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert (restore.actor, restore.verb, restore.after) == (me, "store.restore", str(backup))
    assert node.stop() == 0
