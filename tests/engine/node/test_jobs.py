"""Jobs under a real node: started, killed with -9 and resumed, cancelled, outliving the node."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.jobs import kept_models, scratch
from engine.node.jobs import Jobs
from storage import intents, job_attempts, jobs, models
from storage import store as stores
from storage.control_socket import client
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.jobs import Job, State
from storage.store import Session
from tests.engine.control import ggufs
from tests.engine.jobs import run_jobs
from tests.engine.node.nodes import BOUND_S, RealNode, opened
from tests.engine.registry import hub as hubs
from tests.engine.registry.hub import Hub

ADDRESS = "hf://acme/tiny/tiny.gguf"
HELD_AFTER = 3_000_000
ASKED = {"model": "x", "version": "1.0.0", "path": ADDRESS}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A Hub that holds back all but the first bytes of a model until it is released."""
    content = ggufs.made(tmp_path / "tiny.gguf").read_bytes() + os.urandom(4_000_000)
    with hubs.serving(Hub(content, held_after=HELD_AFTER)) as served:
        yield served


@pytest.fixture
async def node(tmp_path: Path, hub: Hub) -> AsyncIterator[RealNode]:
    """A node whose jobs ask that Hub."""
    made = RealNode(tmp_path / "home", HF_ENDPOINT=hub.address)
    await asyncio.to_thread(made.start)
    yield made
    await asyncio.to_thread(made.end)


async def until(node: RealNode, holds: Callable[[Job], bool]) -> Job:
    """The first job as soon as `holds` is true of it."""
    found = await node.found(jobs.tail, lambda jobs: bool(jobs) and holds(jobs[-1]))
    return found[-1]


def downloading(job: Job) -> bool:
    """Whether some bytes have arrived and more are waited for."""
    progress = job.progress
    return job.state is State.RUNNING and progress is not None and progress.done >= HELD_AFTER


async def begin(node: RealNode) -> int:
    """Ask for the model; the intent."""
    return (await client.ask(node.home, "models.add", "x@1.0.0", ASKED)).intent_id


async def registered(node: RealNode, hub: Hub, intent: int) -> None:
    """The intent is applied and the model is the Hub's file."""
    async with opened(node.home) as store:
        ended = await client.wait(store, intent, BOUND_S)
        assert ended.state is intents.State.APPLIED, ended.outcome
        async with store.read() as s:
            version = await models.find(s, "x@1.0.0")
    assert version.sha256 == hashlib.sha256(hub.content).hexdigest()
    assert Path(version.path).read_bytes() == hub.content


async def swept(node: RealNode) -> None:
    """The working files are removed, by the job's process after its last step or by the node."""
    async with asyncio.timeout(BOUND_S):
        while list((node.home.models / ".partial").glob("*")):
            await asyncio.to_thread(os.sched_yield)


async def test_a_job_that_is_killed_in_the_middle_is_resumed(node: RealNode, hub: Hub) -> None:
    """Kill -9: one failure is counted, the next process resumes at the byte that is missing."""
    intent = await begin(node)
    job = await until(node, downloading)
    process = psutil.Process(job.pid or 0)
    assert process.nice() > 0
    process.kill()
    queued = await until(node, lambda job: job.state is State.QUEUED)
    assert queued.failures == 1  # until the next attempt ends a step
    assert queued.reason == "Its process died: it was killed by SIGKILL."
    await until(node, lambda job: job.attempt == 2 and job.pid is not None)
    hub.gate.set()
    await registered(node, hub, intent)
    first, second = [request.headers.get("range") for request in hub.asked_for_bytes()]
    assert first is None
    assert second is not None
    assert 2_000_000 < int(second.removeprefix("bytes=").rstrip("-")) <= HELD_AFTER
    await swept(node)
    assert await asyncio.to_thread(node.stop) == 0


async def test_a_job_outlives_its_node(node: RealNode, hub: Hub) -> None:
    """Its process dies with a killed node; the next node resumes it, and no failure is counted."""
    intent = await begin(node)
    job = await until(node, downloading)
    children = await asyncio.to_thread(node.kill)
    gone, alive = await asyncio.to_thread(psutil.wait_procs, children, BOUND_S)
    assert job.pid in {process.pid for process in gone}
    assert alive == []
    hub.gate.set()
    await asyncio.to_thread(node.start)
    await registered(node, hub, intent)
    ended = await until(node, lambda job: job.state is State.SUCCEEDED)
    assert (ended.attempt, ended.failures) == (2, 0)


async def test_a_node_that_stops_puts_its_jobs_back(node: RealNode, hub: Hub) -> None:
    """SIGTERM: the job is queued with a sentence, and its process is gone with the node."""
    await begin(node)
    job = await until(node, downloading)
    assert await asyncio.to_thread(node.stop) == 0
    waiting = await until(node, lambda job: job.state is State.QUEUED)
    assert waiting.reason == "The node stopped; the job is resumed."
    assert waiting.failures == 0
    assert not psutil.pid_exists(job.pid or 0)
    assert len(hub.asked_for_bytes()) == 1


async def test_a_running_job_is_cancelled_and_leaves_nothing(node: RealNode) -> None:
    """The download stops, its bytes are removed, the intent says who did it."""
    intent = await begin(node)
    job = await until(node, downloading)
    said = await node.must("jobs.cancel", str(job.id), {})
    assert said == f"Job {job.id} (add_model x@1.0.0) is being cancelled."
    async with opened(node.home) as store:
        ended = await client.wait(store, intent, BOUND_S)
    assert ended.state is intents.State.REFUSED
    assert await asyncio.to_thread(node.stop) == 0
    assert (ended.outcome or "").startswith("Cancelled by ")
    assert not list((node.home.models / ".partial").glob("*"))


async def test_a_person_who_stops_watching_stops_no_job(node: RealNode, hub: Hub) -> None:
    """^C at the progress of `models add`: what to type next is printed, and the job continues."""
    command = subprocess.Popen(  # noqa: ASYNC220 its end is waited for in a thread
        [sys.executable, "-c", "from app import cli; cli.main()", "models", "add", ADDRESS,
         "--name", "x", "--version", "1.0.0"],
        env={**os.environ, "PADDOCK_HOME": str(node.home.root)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stdout is not None
    line = await asyncio.to_thread(command.stdout.readline)
    assert line.startswith("fetch: ")
    command.send_signal(signal.SIGINT)
    _, told = await asyncio.to_thread(command.communicate, timeout=BOUND_S)
    assert command.returncode == 4
    assert told == (
        "Job 1 keeps running. `paddock jobs logs -f 1` follows it, "
        "`paddock jobs cancel 1` cancels it.\n"
    )
    hub.gate.set()
    await registered(node, hub, 1)


async def test_a_downloaded_file_without_a_version_is_swept_once_no_job_can_need_it(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week later: a store that names it may be restored. The files of versions stay."""
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.gate.set()
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    now_us = clock.now_us()
    node = Jobs(store.home, store, now_us=lambda: now_us, monotonic_us=lambda: now_us)

    async def add(name: str) -> Job:
        return await store.write(
            lambda s: jobs.add(
                s, kind="add_model", target=name, actor="kim", at_us=1,
                arguments={**ASKED, "model": name},
            )
        )  # fmt: skip

    try:
        await run_jobs.attempt(store, await add("x"))
        used = hashlib.sha256(hub.content).hexdigest()
        orphan = store.home.models / ("0" * 64)
        orphan.mkdir()
        (orphan / "tiny.gguf").write_bytes(b"GGUF")
        waits = await add("y")
        node._stopping = True  # nothing is started
        await node.follow()
        now_us += kept_models.KEPT_S * 1_000_000
        await node.follow()
        await store.write(lambda s: jobs.cancel(s, waits.id, actor="kim", at_us=2))
        await node.follow()
        assert orphan.is_dir()
        now_us += kept_models.KEPT_S * 1_000_000
        await node.follow()
        assert not orphan.exists()
        assert (store.home.models / used / "tiny.gguf").is_file()
    finally:
        await store.close()


async def test_the_files_of_a_job_that_failed_are_kept_for_a_day(tmp_path: Path) -> None:
    """For a retry; the node removes them afterwards."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    now_us = clock.now_us()
    node = Jobs(store.home, store, now_us=lambda: now_us, monotonic_us=clock.monotonic_us)

    async def fail(s: Session) -> int:
        job = await jobs.add(
            s, kind="add_model", target="x", actor="kim", at_us=now_us, arguments=ASKED
        )
        job = await job_attempts.start(s, job.id, at_us=now_us)
        await job_attempts.fail(
            s, job.id, job.attempt, "The network is down.", at_us=now_us, failures=10
        )
        return job.id

    try:
        files = scratch.make(store.home, await store.write(fail))
        await node.follow()
        assert files.is_dir()
        now_us += scratch.KEEP_US + 1
        await node.follow()
        assert not files.exists()
    finally:
        await store.close()
