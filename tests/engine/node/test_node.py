"""One real node with all its processes: what it does when they are killed, stopped or broken."""

from __future__ import annotations

import asyncio
import http.client
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine.node import process_logs
from engine.registry import gguf_header
from storage import errors, intents, ledger, models, services
from storage.control_socket import client
from storage.loaded import How, Loaded
from storage.processes import Process, State
from storage.runtime import file_identity
from tests.engine.control.ggufs import made
from tests.engine.node.nodes import BOUND_S, RealNode, opened, ready
from tests.engine.registry import split_gguf
from tests.home_fixtures import ADAPTER, WEIGHTS, digest

DEPLOYMENT = "ops-1.0.0"
TEMPLATE = gguf_header.read(WEIGHTS).chat.sha256
WORKER = f"{DEPLOYMENT}:1"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A node that serves one service with one worker, impatient about heartbeats."""
    running = RealNode(
        tmp_path_factory.mktemp("box") / "home", PADDOCK_BEAT_S="1.6", PADDOCK_LINGER_S="1"
    )
    running.start()
    try:
        asyncio.run(_furnish(running))
        yield running
    finally:
        running.end()


async def _furnish(node: RealNode) -> None:
    added = {"model": "ops", "version": "1.0.0", "path": str(WEIGHTS)}
    await node.must("models.add", "ops", added)
    await node.register("ops", ADAPTER, version="1.1.0", base="ops@1.0.0")
    await node.must("releases.create", "", {"model": "ops@1.0.0"})
    await node.must("releases.create", "", {"model": "ops@1.1.0"})
    await node.must("services.create", "support", {"release": "r1"})
    await node.until(ready(WORKER))


def _back(before: Process) -> Callable[[dict[str, Process]], bool]:
    """Whether a process is ready again under another pid, for `until`."""
    return lambda parts: ready(before.name)(parts) and parts[before.name].restarts > before.restarts


async def test_a_split_goes_from_the_control_socket_to_the_store(node: RealNode) -> None:
    """Asked, stored, decided, set, told: and the ledger knows who and why."""
    intent = await node.do("services.split", "support", {"arms": {"r1": 9000, "r2": 1000}})
    assert intent.state is intents.State.APPLIED
    assert intent.outcome == "support: r1 90 %, r2 10 % (before: r1 100 %)."
    async with opened(node.home) as store, store.read() as session:
        service = await services.find(session, "support")
        entry = (await ledger.of(session, "service", "support"))[0]
    assert [(arm.release, arm.weight_bp) for arm in service.split.arms] == [(1, 9000), (2, 1000)]
    assert (entry.intent_id, entry.after) == (intent.id, {"r1": 9000, "r2": 1000})


async def test_two_releases_on_the_same_weights_share_a_worker(node: RealNode) -> None:
    """The adapter runs in its base's worker: there is no second process."""
    parts = await node.until(ready(WORKER))
    assert [name for name, part in parts.items() if part.kind == "worker"] == [WORKER]


async def _answering(node: RealNode) -> None:
    """Wait until every service can answer."""
    port = int(node.environment["PADDOCK_GATEWAY__PORT"])
    async with asyncio.timeout(BOUND_S):
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            answer.read()
            connection.close()
            if answer.status == 200:
                return
            await node.next_change()


async def test_the_gateway_is_supervised_and_reports_readiness(node: RealNode) -> None:
    """Ready means that the box answers."""
    await node.until(ready("gateway"))
    await _answering(node)


async def test_a_killed_worker_is_back_by_itself(node: RealNode) -> None:
    """Kill -9: another process under the same name, counted as a restart."""
    before = (await node.until(ready(WORKER)))[WORKER]
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    after = (await node.until(_back(before)))[WORKER]
    assert after.pid != before.pid
    assert after.restarts == before.restarts + 1
    assert after.sha256 == before.sha256


async def test_a_stopped_worker_is_replaced(node: RealNode) -> None:
    """SIGSTOP: it sends no heartbeats and does not exit, so it is killed."""
    await node.until(ready(WORKER))
    await _answering(node)
    before = (await node.until(ready(WORKER)))[WORKER]
    assert before.pid is not None
    os.kill(before.pid, signal.SIGSTOP)
    after = (await node.until(_back(before)))[WORKER]
    assert after.pid != before.pid
    async with opened(node.home) as store, store.read() as session:
        moves = [entry.after for entry in await ledger.of(session, "process", WORKER)]
    assert moves[:3] == ["ready", "starting", "crashed"]


async def test_control_and_runner_are_put_back_too(node: RealNode) -> None:
    """Every process is crash-only; what was asked meanwhile is done afterwards."""
    parts = await node.until(lambda parts: ready("control")(parts) and ready("runner")(parts))
    for name in ("control", "runner"):
        pid = parts[name].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    said = await node.must("knobs.set", DEPLOYMENT, {"name": "max_running", "value": 3})
    assert said.startswith(f"{DEPLOYMENT}: max_running is 3")
    await node.until(_back(parts["runner"]))


async def test_a_model_that_cannot_be_loaded_costs_only_itself(
    node: RealNode, tmp_path: Path
) -> None:
    """It is marked with the worker's own reason, not tried again, and the other service answers."""
    path = made(tmp_path / "broken.gguf", **{"llama.context_length": 2048})
    release = await node.release("broken", path)  # its header is sound
    before = (await node.until(ready(WORKER)))[WORKER]
    await node.must("services.create", "doomed", {"release": release})
    parts = await node.until(
        lambda parts: any(
            part.state is State.CRASHED and name.startswith("broken")
            for name, part in parts.items()
        )
    )
    broken = next(part for name, part in parts.items() if name.startswith("broken"))
    async with opened(node.home) as store, store.read() as session:
        version = await models.find(session, "broken")
    assert version.status is models.Status.UNLOADABLE
    assert version.status_reason == broken.reason
    assert broken.restarts == 0
    assert parts[WORKER].pid == before.pid
    refused = await node.do("services.split", "support", {"arms": {"r1": 1, release: 9999}})
    assert refused.state is intents.State.REFUSED
    assert "broken@1.0.0 cannot be loaded" in (refused.outcome or "")


async def test_a_file_that_was_replaced_is_not_served(node: RealNode, tmp_path: Path) -> None:
    """What answers is what was registered, or nothing: a sound file in its place changes that."""
    path = tmp_path / "mine.gguf"
    shutil.copy(WEIGHTS, path)
    release = await node.release("mine", path)
    path.write_bytes(ADAPTER.read_bytes())
    await node.must("services.create", "mine", {"release": release})
    parts = await node.until(lambda parts: any(name.startswith("mine") for name in parts))
    mine = next(part for name, part in parts.items() if name.startswith("mine"))
    assert mine.state is State.CRASHED
    assert "is not the file that was registered" in (mine.reason or "")
    async with opened(node.home) as store, store.read() as session:
        assert (await models.find(session, "mine")).status is models.Status.UNLOADABLE


async def test_a_file_that_is_replaced_while_it_is_served_is_not_loaded_again(
    node: RealNode, tmp_path: Path
) -> None:
    """The successor of a worker that died would serve it under the registered name."""
    path = tmp_path / "mine.gguf"
    shutil.copy(WEIGHTS, path)
    release = await node.release("swapped", path)
    await node.must("services.create", "swapped", {"release": release})

    def mine(parts: dict[str, Process]) -> list[Process]:
        return [part for name, part in parts.items() if name.startswith("swapped")]

    parts = await node.until(lambda parts: any(part.state is State.READY for part in mine(parts)))
    path.unlink()
    shutil.copy(ADAPTER, path)
    pid = mine(parts)[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    parts = await node.until(
        lambda parts: "is not the file that was registered" in (mine(parts)[0].reason or "")
    )
    assert mine(parts)[0].state is State.CRASHED


async def test_a_worker_that_no_split_names_any_more_is_stopped(
    node: RealNode, tmp_path: Path
) -> None:
    """Placement follows the splits: what is in none is drained and stopped, and no crash."""
    path = tmp_path / "other.gguf"
    shutil.copy(WEIGHTS, path)
    release = await node.release("other", path)
    await node.must("services.create", "brief", {"release": release})
    parts = await node.until(
        lambda parts: any(
            part.state is State.READY and name.startswith("other") for name, part in parts.items()
        )
    )
    name = next(name for name in parts if name.startswith("other"))
    await node.must("services.split", "brief", {"arms": {"r1": 10_000}})
    await node.until(lambda parts: name not in parts)
    async with opened(node.home) as store, store.read() as session:
        moves = [entry.after for entry in await ledger.of(session, "process", name)]
    assert moves[:2] == ["stopped", "draining"]


async def test_a_model_that_comes_late_is_served_as_soon_as_it_is_there(
    node: RealNode, tmp_path: Path
) -> None:
    """A part that is missing at a start: the worker says so and comes; the version stays sound.

    While it serves, the missing part is reported beside the proof of what it has in memory. No
    action is needed, and other releases may be set meanwhile.
    """
    parts = split_gguf.write(tmp_path / "late.gguf")
    path, away = parts[2], tmp_path / "away.gguf"
    release = await node.release("late", *parts)
    await node.must("services.create", "late", {"release": release})

    def late(parts: dict[str, Process]) -> Process | None:
        return next((part for name, part in parts.items() if name.startswith("late")), None)

    def serves(parts: dict[str, Process]) -> bool:
        return (found := late(parts)) is not None and found.state is State.READY

    loaded = late(await node.until(serves))
    assert loaded is not None
    assert loaded.pid is not None
    proof = Loaded(
        weights=file_identity.whole([digest(each) for each in parts]),
        how=How.BOUND,
        template=TEMPLATE,
    )
    assert loaded.loaded == proof
    path.rename(away)
    missing = msgspec.structs.replace(proof, missing=str(path))
    await node.until(lambda parts: (found := late(parts)) is not None and found.loaded == missing)
    os.kill(loaded.pid, signal.SIGKILL)
    said = f"there is no model file at {path}"
    await node.until(lambda parts: (found := late(parts)) is not None and found.reason == said)
    async with opened(node.home) as store, store.read() as session:
        version = await models.find(session, "late")
    assert version.status is models.Status.REGISTERED
    await node.must("services.split", "late", {"arms": {release: 5000, "r1": 5000}})
    away.rename(path)
    await node.until(serves)


async def test_a_log_is_rotated_while_its_process_writes_to_it(node: RealNode) -> None:
    """A process that lives for months fills no disk; the last lines are kept beside it."""
    log = node.home.log("gateway")
    os.truncate(log, process_logs.LIMIT + 1)
    await node.must("knobs.set", DEPLOYMENT, {"name": "queue_limit", "value": 9})
    async with asyncio.timeout(BOUND_S):
        while log.stat().st_size > process_logs.LIMIT:
            await asyncio.to_thread(os.sched_yield)
    assert log.with_suffix(".log.1").stat().st_size == process_logs.LIMIT


async def test_a_store_that_takes_nothing_does_not_stop_the_serving(node: RealNode) -> None:
    """No room: the node still puts a worker back, says what is wrong, and catches up afterwards."""
    before = (await node.until(ready(WORKER)))[WORKER]
    assert before.pid is not None
    limits = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(errors.Unavailable):
            await client.ask(node.home, "services.undo", "support", {"to": 1})
        os.kill(before.pid, signal.SIGKILL)
        async with asyncio.timeout(BOUND_S):
            while True:
                state = await client.state(node.home)
                now = next(part for part in state["processes"] if part["name"] == WORKER)
                if now["state"] == "ready" and now["pid"] != before.pid and state["trouble"]:
                    break
                await node.next_change()
    finally:
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, limits)
    after = (await node.until(_back(before)))[WORKER]
    assert after.pid == now["pid"]


async def test_the_control_socket_reports_what_runs(node: RealNode) -> None:
    """`state` is the node's own knowledge, whatever the store can take."""
    state = await client.state(node.home)
    assert state["pid"] == node.pid
    assert state["trouble"] is None
    assert {"gateway", "control", "runner", WORKER} <= {part["name"] for part in state["processes"]}
