"""Deployments on a real node: scaled, drained, moved, and supervised servers beside workers."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from engine.node import supervision
from engine.process import address
from storage import deployments, keys, ledger, releases
from storage.deployments import Status
from storage.processes import Kind, Process, State
from storage.releases import Sampling
from tests import old_homes, paddock_commands
from tests.engine.node.nodes import BOUND_S, RealNode, opened
from tests.engine.node.shims import TINY
from tests.home_fixtures import WEIGHTS

WEIGHTS_SHA256 = "fd2e45e21cb92fbdb1d2423f093fc9fd0da92dc347c1eaa53af31312eacef836"
GREEDY = {"temperature": 0.0}
FIRST, SECOND = "ops-1.0.0:1", "ops-1.0.0:2"


def states(expected: dict[str, State]) -> Callable[[dict[str, Process]], bool]:
    """Whether these are the instances, in these states."""

    def hold(found: dict[str, Process]) -> bool:
        instances = {name: each.state for name, each in found.items() if each.deployment}
        return instances == expected

    return hold


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A node that serves one release of a file that may be moved."""
    made = RealNode(
        tmp_path_factory.mktemp("box") / "home", PADDOCK_LINGER_S="0.5", PADDOCK_BEAT_S="20"
    )
    made.start()
    try:
        asyncio.run(_furnish(made))
        yield made
    finally:
        made.end()


async def _furnish(node: RealNode) -> None:
    added = {"model": "ops", "version": "1.0.0", "path": str(WEIGHTS)}
    await node.must("models.add", "ops", added)
    await node.must("releases.create", "", {"model": "ops"})
    await node.must("services.create", "support", {"release": "r1"})


@pytest_asyncio.fixture
async def node(running: RealNode) -> RealNode:
    """The node with one instance, whatever the test before has left."""
    await running.must("deployments.scale", "ops-1.0.0", {"replicas": 1})
    await running.until(states({FIRST: State.READY}))
    return running


async def test_a_deployment_is_scaled_up_moved_and_scaled_down(
    node: RealNode, tmp_path: Path
) -> None:
    """Each step with real processes; the one that stays is never touched."""
    await node.must("deployments.scale", "ops", {"replicas": 2})
    found = await node.until(states({FIRST: State.READY, SECOND: State.READY}))
    assert found[FIRST].pid != found[SECOND].pid
    assert found[FIRST].sha256 == found[SECOND].sha256

    moved = tmp_path / "moved.gguf"
    shutil.copy(WEIGHTS, moved)
    said = await node.must(
        "models.add", "ops", {"model": "ops", "version": "1.0.0", "path": str(moved)}
    )
    assert str(moved) in said

    def replaced(now: dict[str, Process]) -> bool:
        return states({FIRST: State.READY, SECOND: State.READY})(now) and not (
            {now[FIRST].pid, now[SECOND].pid} & {found[FIRST].pid, found[SECOND].pid}
        )

    after = await node.until(replaced)
    for name in (FIRST, SECOND):
        assert after[name].restarts == 0  # replaced, not restarted
        command = Path(f"/proc/{after[name].pid}/cmdline").read_text().split("\0")
        assert str(moved) in command

    await node.must("deployments.scale", "ops", {"replicas": 1})
    last = await node.until(states({FIRST: State.READY}))
    assert last[FIRST].pid == after[FIRST].pid
    async with opened(node.home) as store, store.read() as session:
        moves = [entry.after for entry in await ledger.of(session, "process", SECOND)]
    assert moves[:2] == ["stopped", "draining"]


async def test_a_supervised_server_is_run_like_a_worker(node: RealNode) -> None:
    """Started when a split names it, put back when it dies, drained when no split does."""
    server = {"command": TINY, "model": "tiny", "environment": {"WHERE": "{model}@{port}"}}
    release = (await node.must("releases.create", "", {"server": server})).split()[0]
    await node.must("services.create", "tiny", {"release": release})
    found = await node.until(states({FIRST: State.READY, "tiny:1": State.READY}))
    assert found["tiny:1"].kind is Kind.SERVER
    published = address.read(node.home.server("tiny:1"))
    assert published is not None
    pid = found["tiny:1"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await node.until(lambda now: now["tiny:1"].state is State.READY and now["tiny:1"].restarts == 1)
    await node.must("services.split", "tiny", {"arms": {"r1": 10_000}})
    await node.until(states({FIRST: State.READY}))
    assert address.read(node.home.server("tiny:1")) is None
    async with opened(node.home) as store, store.read() as session:
        known = {each.name: each.backend.value for each in await deployments.every(session)}
        assert known == {"ops-1.0.0": "local", "tiny": "server"}
        (made,) = [each for each in await releases.every(session) if each.name == release]
    assert (made.deployment, made.model_version_id, made.sampling) == ("tiny", None, Sampling())


async def test_a_worker_that_aborts_again_and_again_is_given_up_until_it_is_restarted(
    node: RealNode,
) -> None:
    """The verdict of a real node about a real worker, its evidence, and the way back."""
    deaths = supervision.Plan().deaths

    def has(state: State, restarts: int) -> Callable[[dict[str, Process]], bool]:
        return lambda now: (now[FIRST].state, now[FIRST].restarts) == (state, restarts)

    for restarts in range(deaths):
        parts = await node.until(has(State.READY, restarts))
        pid = parts[FIRST].pid
        assert pid is not None
        os.kill(pid, signal.SIGABRT)  # as libllama does

    async def status() -> tuple[Status, str | None]:
        async with opened(node.home) as store, store.read() as session:
            found = await deployments.find(session, "ops-1.0.0")
        return found.status, found.status_reason

    await node.until(has(State.CRASHED, deaths - 1))
    verdict, evidence = await status()
    assert verdict is Status.FAILING
    assert re.match(rf"it died {deaths} times within .* it was killed by SIGABRT", evidence or "")
    await node.must("deployments.scale", "ops-1.0.0", {"replicas": 2})
    await node.until(has(State.CRASHED, deaths - 1))  # nothing is started

    await node.must("deployments.restart", "ops-1.0.0", {})
    await node.until(states({FIRST: State.READY, SECOND: State.READY}))
    assert await status() == (Status.ACTIVE, None)


@pytest.mark.parametrize("replicas", [0, 65])
async def test_nonsense_changes_nothing(node: RealNode, replicas: int) -> None:
    """A clear sentence, and the same process as before."""
    before = await node.until(states({FIRST: State.READY}))
    intent = await node.do("deployments.scale", "ops-1.0.0", {"replicas": replicas})
    assert f"replicas is 1 to 64, not {replicas}" in (intent.outcome or "")
    after = await node.until(states({FIRST: State.READY}))
    assert after[FIRST].pid == before[FIRST].pid


async def test_a_home_of_first_light_serves_under_its_old_names(tmp_path: Path) -> None:
    """Its two deployments run and answer, its history is shown, and nothing gets a new name."""
    old_homes.first_light(tmp_path / "home")
    node = RealNode(tmp_path / "home", PADDOCK_BEAT_S="20")
    node.start()
    try:
        found = await node.until(states({FIRST: State.READY, "ops-1.0.0-34c5:1": State.READY}))
        assert {each.sha256 for each in found.values() if each.deployment} == {WEIGHTS_SHA256}
        minted = keys.mint()
        key = {"name": "t", "prefix": minted.prefix, "sha256": minted.sha256, "tenant": "t"}
        await node.must("keys.add", "t", key)
        base = f"http://127.0.0.1:{node.environment['PADDOCK_GATEWAY__PORT']}"
        headers = {"authorization": f"Bearer {minted.secret}"}
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=BOUND_S) as http:
            for service, expected in (("billing", {"r3"}), ("support", {"r1", "r2"})):
                turn = {"role": "user", "content": "Where is order 17?"}
                body = {"model": service, "messages": [turn], "max_tokens": 4}
                answer = await http.post("/v1/chat/completions", json=body)
                assert answer.status_code == 200, answer.text
                assert answer.headers["x-paddock-release"] in expected
                assert answer.json()["choices"][0]["message"]["content"]
        shown = await asyncio.to_thread(
            paddock_commands.run, "services", "show", "support",
            environment={**os.environ, "PADDOCK_HOME": str(node.home.root)},
        )  # fmt: skip
        assert "r1 90 %, r2 10 %" in shown.stdout
        again = await node.must("releases.create", "", {"model": "ops@1.1.0", "sampling": GREEDY})
        assert again.startswith("r4 is ops@1.1.0")
        async with opened(node.home) as store, store.read() as session:
            assert len(await releases.every(session)) == 4
            assert len(await deployments.every(session)) == 2
    finally:
        node.end()
