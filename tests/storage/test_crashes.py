"""What is left when a process is killed, when two write at once, when the disk is full."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from storage import intents, processes
from storage import store as stores
from storage.home.paths import Home
from storage.intents import State
from storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
SCRIBE = (sys.executable, "-m", "tests.storage.writer_process")


async def scribe(home: Home, name: str, count: int) -> asyncio.subprocess.Process:
    """A process that writes and tells each id that was acknowledged."""
    return await asyncio.create_subprocess_exec(
        *SCRIBE, str(home.root), name, str(count), stdout=subprocess.PIPE, cwd=ROOT
    )


async def test_two_processes_write_at_once_and_lose_nothing(home: Home, store: Store) -> None:
    """Each waits for the other; every acknowledged intent is there, each id once."""
    writers = [await scribe(home, name, 60) for name in ("gateway", "control")]
    said = [(await writer.communicate())[0].split() for writer in writers]
    ids = [int(number) for each in said for number in each]
    async with store.read() as s:
        kept = await intents.tail(s, 1000)
    assert len(ids) == len(set(ids)) == 120
    assert {intent.id for intent in kept} == set(ids)
    for name in ("gateway", "control"):
        mine = [intent.at_us for intent in reversed(kept) if intent.actor == name]
        assert mine == list(range(60))


async def test_what_was_acknowledged_survives_kill_9(home: Home) -> None:
    """Killed in the middle of writing: nothing that was acknowledged is gone."""
    writer = await scribe(home, "node", 100_000)
    assert writer.stdout is not None
    told = [int(await writer.stdout.readline()) for _ in range(40)]
    writer.send_signal(signal.SIGKILL)
    told += [int(line) for line in (await writer.stdout.read()).split()]
    await writer.wait()
    store = await stores.open(home)
    try:
        async with store.read() as s:
            kept = {intent.id: intent for intent in await intents.tail(s, 100_000)}
        assert set(told) <= set(kept)
        assert len(kept) - len(told) <= 1  # written, and killed before it could be told
        assert {intent.state for intent in kept.values()} == {State.ACCEPTED}
        assert await store.check() == []
    finally:
        await store.close()


async def test_a_killed_writer_does_not_hold_up_who_only_reads(home: Home) -> None:
    """A terminal attaches read-only to what a killed node left, log and all."""
    writer = await scribe(home, "node", 100_000)
    assert writer.stdout is not None
    first = int(await writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    await writer.wait()
    store = await stores.open(home, readonly=True)
    async with store.read() as s:
        assert (await intents.find(s, first)).state is State.ACCEPTED
    await store.close()


def can_mount() -> bool:
    """Whether this user may mount a file system of their own (Linux user namespaces)."""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@pytest.mark.parametrize("how", ["tmpfs", "limit"])
def test_a_full_disk_is_reported_and_survived(home: Home, how: str) -> None:
    """A real file system without room, and a real limit on file size: a clear error, no loss.

    Once there is room the same store writes again, and all that was acknowledged is there.
    """
    command = [*SCRIBE, str(home.root), "full", how]
    if how == "tmpfs":
        if not can_mount():
            pytest.skip("this user may not mount a file system to fill")
        command = ["unshare", "-Urm", *command]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    told, kept = done.stdout.splitlines()
    assert told.startswith("The disk ")
    assert "nothing was written" in told
    assert str(home.root) in told
    assert kept == "kept"


async def test_the_next_start_repairs_what_a_killed_node_left(store: Store) -> None:
    """Processes that looked alive have crashed; what control had claimed waits again."""

    async def life(s: AsyncSession) -> int:
        await processes.node_started(s, pid=os.getpid(), at_us=1, host="box01", version="0.1.0")
        for name in ("gateway", "control"):
            await processes.declare(
                s, name=name, kind=processes.Kind(name), at_us=2, pid=os.getpid()
            )
        await processes.move(s, "gateway", processes.State.READY, at_us=3)
        await processes.move(s, "control", processes.State.STOPPED, at_us=3)
        id = await intents.accept(
            s, actor="sara", role="operator", verb="services.undo", target="support",
            arguments={}, at_us=4,
        )  # fmt: skip
        await intents.claim(s, verbs=["services.undo"], by="control", at_us=5)
        return id

    async def repair(s: AsyncSession) -> tuple[list[str], list[int], list[int]]:
        return (
            await processes.repair(s, 6),
            await intents.reclaim(s, "runner", 6),
            await intents.reclaim(s, "control", 6),
        )

    id = await store.write(life, durable=True)
    assert await store.write(repair) == (["gateway"], [], [id])
    async with store.read() as s:
        states = {process.name: process.state for process in await processes.every(s)}
        intent = await intents.find(s, id)
    assert states == {
        "gateway": processes.State.CRASHED,
        "control": processes.State.STOPPED,
    }
    assert (intent.state, intent.claimed_by) == (State.ACCEPTED, None)
