"""How a node begins and ends: refused, killed, told to leave, with other things in its way."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from engine.node import recovery
from storage import intents, knobs, ledger, processes
from storage import store as stores
from storage.control_socket import client
from storage.home import paths as homes
from storage.home.identity import Backup
from storage.home.paths import Home
from storage.processes import State
from tests import old_homes
from tests.engine.node.nodes import BOUND_S, RealNode, opened, ready
from tests.home_fixtures import WEIGHTS

WORKER = "ops-1.0.0:1"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RealNode]:
    """A new node for each test, not yet started."""
    made = RealNode(tmp_path / "home")
    yield made
    made.end()


async def test_a_restore_is_in_the_ledger_once_however_often_the_node_starts(
    tmp_path: Path,
) -> None:
    """The restored store cannot know of it; neither can one from before stores had ids."""
    home = old_homes.first_light(tmp_path / "home")
    backup = tmp_path / "backup.db"
    stores.backup(home, backup)
    restored = stores.restore(home, backup, replace=True, reason="drill", now_us=lambda: 7)
    assert stores.note(home, Backup(8, "sara", "/backup/b", "before the update"))
    for _ in range(2):
        await (await recovery.begin(home)).end()
    async with opened(home) as store, store.read() as session:
        copied, entry = await ledger.of(session, "store", store.id[:8])
    assert (copied.verb, copied.at_us, copied.after) == ("store.backup", 8, "/backup/b")
    assert (copied.actor, copied.reason, entry.reason) == ("sara", "before the update", "drill")
    assert (entry.verb, entry.at_us) == ("store.restore", 7)
    assert (entry.before, entry.after) == (str(restored.aside), str(backup))


async def test_the_logs_of_instances_that_are_gone_are_kept_for_a_month(tmp_path: Path) -> None:
    """A deployment has a log for each instance, and a new release may be a new deployment."""
    home = homes.make(Home(tmp_path / "home"))
    old, recent, control = (home.log(name) for name in ("worker-a:1", "server-b:1", "control"))
    for log in (old, old.with_suffix(".log.1"), recent, control):
        log.touch()
    for log in (old, old.with_suffix(".log.1"), control):
        os.utime(log, (1, 1))
    await (await recovery.begin(home)).end()
    assert sorted(home.logs.iterdir()) == sorted([recent, control])


def test_a_store_that_fails_at_its_first_read_ends_the_start_with_a_sentence(
    node: RealNode,
) -> None:
    """It does not serve from a store that it cannot read, and it does not hang."""
    node.start()
    assert node.stop() == 0
    with closing(sqlite3.connect(node.home.database)) as bare:
        bare.execute("DROP TABLE nodes")
    code, said = _refused(node)
    assert (code, "no such table: nodes" in said) == (6, True)


def _refused(node: RealNode) -> tuple[int, str]:
    """The exit code of a node that cannot start, and its last line; it never says ready."""
    process = node.spawn()
    announced, said = process.communicate(timeout=BOUND_S)
    assert b"ready" not in announced
    return process.returncode, said.decode().strip().splitlines()[-1]


def test_a_port_in_use_ends_the_node_with_a_sentence(node: RealNode) -> None:
    """A box that cannot be reached is not left running, and never said that it was ready."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", int(node.environment["PADDOCK_GATEWAY__PORT"])))
        taken.listen()
        code, said = _refused(node)
    assert code == 4
    assert node.environment["PADDOCK_GATEWAY__PORT"] in said
    assert "in use" in said
    assert f"process {os.getpid()} (" in said


def test_a_file_that_is_no_store_is_reported_and_left_alone(node: RealNode) -> None:
    """Nothing is written over what is not ours."""
    rubbish = b"this is no database " * 300
    node.home.database.write_bytes(rubbish)
    code, said = _refused(node)
    assert code == 6
    assert "damaged or is not a Paddock store" in said
    assert node.home.database.read_bytes() == rubbish


def test_a_log_that_is_no_file_costs_lines_and_no_start(node: RealNode) -> None:
    """Opening a FIFO would hang, the node or its gateway."""
    for name in ("node", "gateway"):
        os.mkfifo(node.home.log(name))
    node.start()
    assert node.stop() == 0


def test_a_bad_configuration_names_the_key(node: RealNode) -> None:
    """Before anything is started."""
    node.home.config.write_text("[gateway]\nprot = 8411\n")
    code, said = _refused(node)
    assert code == 2
    assert "gateway.prot" in said


@pytest.mark.usefixtures("cold_starts")
async def test_told_to_leave_it_leaves_in_order(node: RealNode) -> None:
    """SIGTERM: exit 0, no process left, every part stopped, the run of the node closed."""
    node.start()
    children = psutil.Process(node.pid).children(recursive=True)
    assert node.stop() == 0
    assert not [child for child in children if child.is_running()]
    async with opened(node.home) as store, store.read() as session:
        states = {part.name: part.state for part in await processes.every(session)}
        life = await processes.node_now(session)
    assert set(states.values()) <= {State.STOPPED}
    assert life is not None
    assert life.stopped_at_us is not None
    assert not node.home.control_socket.exists()


async def test_a_second_node_is_refused_and_an_operator_stops_the_first_at_the_door(
    node: RealNode,
) -> None:
    """The refusal names the process that has the home, which does not notice.

    `paddock stop` is an answer first, and then the same end as SIGTERM.
    """
    node.start()
    code, said = await asyncio.to_thread(_refused, node)
    assert code == 5
    assert f"A node (process {node.pid}) already runs on {node.home.root}" in said
    assert (await client.who(node.home)).role == "admin"
    await client.stop(node.home)
    assert node.process is not None
    assert await asyncio.to_thread(node.process.wait, BOUND_S) == 0


async def test_killed_it_leaves_no_child_and_loses_no_intent(node: RealNode) -> None:
    """Kill -9 right after acknowledgements: all of them are kept and carried out afterwards."""
    node.start()
    await node.release("ops", WEIGHTS)
    await node.must("services.create", "support", {"release": "r1"})
    parts = await node.until(
        lambda parts: any(
            part.kind == "worker" and part.state is State.READY for part in parts.values()
        )
    )
    worker = next(name for name, part in parts.items() if part.kind == "worker")
    deployment = parts[worker].deployment or ""
    asked = [
        (
            await client.ask(
                node.home, "knobs.set", deployment, {"name": "queue_limit", "value": value}
            )
        )
        for value in range(30)
    ]
    children = await asyncio.to_thread(node.kill)
    gone, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=BOUND_S)
    assert (len(gone), alive) == (len(children), [])

    node.start()
    async with opened(node.home) as store:
        ended = [await client.wait(store, each.intent_id, BOUND_S) for each in asked]
        async with store.read() as session:
            assert (await knobs.of(session, deployment))["queue_limit"] == 29
    assert [intent.state for intent in ended] == [intents.State.APPLIED] * 30
    after = await node.until(ready(worker))
    assert after[worker].pid != parts[worker].pid
    with closing(sqlite3.connect(node.home.database)) as file:
        assert file.execute("PRAGMA quick_check").fetchone() == ("ok",)
        lives = file.execute("SELECT stopped_at_us IS NULL FROM nodes ORDER BY id").fetchall()
    assert lives == [(1,), (1,)]


async def test_processes_that_do_not_exit_are_killed(tmp_path: Path) -> None:
    """A stopped process does not handle SIGTERM; the node kills it and exits."""
    node = RealNode(tmp_path / "home", PADDOCK_DRAIN_S="0.5")
    node.start()
    try:
        parts = await node.until(ready("gateway"))
        pid = parts["gateway"].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        assert await asyncio.to_thread(node.stop) == 0
        assert not Path(f"/proc/{pid}").exists()
    finally:
        node.end()
