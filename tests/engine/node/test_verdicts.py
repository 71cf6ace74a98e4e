"""What a real box says of workers that run and do not answer, and how that ends."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.node import supervision
from storage import deployments, keys, models
from storage.deployments import Status
from storage.processes import Process, State
from tests.engine.node.nodes import BOUND_S, RealNode, opened
from tests.home_fixtures import ADAPTER, WEIGHTS

DEPLOYMENT = "ops-1.0.0"
WORKER = f"{DEPLOYMENT}:1"


class Served:
    """A node with a client of its gateway; the service `support` is answered by `WORKER`."""

    def __init__(self, root: Path) -> None:
        self.node = RealNode(root, PADDOCK_LINGER_S="1")
        self.secret = keys.mint()

    @property
    def port(self) -> str:
        """Where the gateway listens."""
        return self.node.environment["PADDOCK_GATEWAY__PORT"]

    def http(self) -> httpx.AsyncClient:
        """A client with a key."""
        headers = {"authorization": f"Bearer {self.secret.secret}"}
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=BOUND_S
        )

    async def furnish(self) -> None:
        """One model, one release, one service, one key."""
        minted = self.secret
        key = {"name": "t", "prefix": minted.prefix, "sha256": minted.sha256, "tenant": "t"}
        await self.node.must("keys.add", "t", key)
        await self.node.register("ops", WEIGHTS)
        await self.node.must("releases.create", "", {"model": "ops"})
        await self.node.must("services.create", "support", {"release": "r1"})
        await self.node.until(is_in(WORKER, State.READY))
        async with self.http() as http:
            await self.until_status(http, "support", 200)

    async def add(self, model: str, path: Path) -> None:
        """Register a file, or again."""
        arguments = {"model": model, "version": "1.0.0", "path": str(path)}
        await self.node.must("models.add", model, arguments)

    async def ask(self, http: httpx.AsyncClient, service: str) -> tuple[int, str, str]:
        """A short answer: the status, the error's code and its message."""
        answer = await http.post("/v1/completions", json=completion(service))
        error = answer.json().get("error", {})
        return answer.status_code, error.get("code", ""), error.get("message", "")

    async def until_status(
        self, http: httpx.AsyncClient, service: str, status: int, saying: str = ""
    ) -> list[dict[str, Any]]:
        """Wait until `readyz` says so of a service, for such a reason; its reasons."""
        async with asyncio.timeout(BOUND_S):
            while True:
                said = await http.get("/readyz", params={"service": service})
                if said.status_code == status and saying in said.text:
                    return list(said.json()["reasons"])
                await self.node.next_change()

    async def version(self, model: str) -> models.ModelVersion:
        """What the store knows of a model."""
        async with opened(self.node.home) as store, store.read() as session:
            return await models.find(session, model)


def completion(service: str, **fields: Any) -> dict[str, Any]:
    """A request."""
    return {"model": service, "prompt": "order 17", "max_tokens": 4, **fields}


def is_in(name: str, state: State) -> Callable[[dict[str, Process]], bool]:
    """Whether a process is in a state, for `until`."""
    return lambda now: name in now and now[name].state is state


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One node for this module; every test leaves `support` answering."""
    served = Served(tmp_path_factory.mktemp("box") / "home")
    served.node.start()
    try:
        asyncio.run(served.furnish())
        yield served
    finally:
        served.node.end()


async def test_a_hung_worker_is_silent_and_not_ready_until_it_is_heard_again(box: Served) -> None:
    """Its process lives and its state is ready; neither people nor balancers take it for well."""
    pid = (await box.node.until(is_in(WORKER, State.READY)))[WORKER].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        async with box.http() as http:
            found = await box.node.until(lambda now: now[WORKER].silent_since_us is not None)
            assert (found[WORKER].state, found[WORKER].pid) == (State.READY, pid)
            assert found[WORKER].reason == "its heartbeats stopped"
            (reason,) = await box.until_status(http, "support", 503)
            assert reason["reason"].startswith(f"{DEPLOYMENT} has been silent for ")
            os.kill(pid, signal.SIGCONT)
            await box.until_status(http, "support", 200)
    finally:
        os.kill(pid, signal.SIGCONT)
    found = await box.node.until(lambda now: now[WORKER].silent_since_us is None)
    assert (found[WORKER].reason, found[WORKER].pid) == (None, pid)


async def test_weights_without_numbers_are_a_verdict_and_their_requests_end_at_once(
    box: Served, tmp_path: Path
) -> None:
    """No restart, no wait: the evidence reaches the row, the model, the client and `readyz`."""
    path = tmp_path / "nan.gguf"
    shutil.copy(WEIGHTS, path)
    with path.open("r+b") as file:
        file.seek(-(1 << 20), os.SEEK_END)
        file.write(b"\xff" * (1 << 20))
    release = await box.node.release("nan", path)
    await box.node.must("services.create", "nan", {"release": release})

    def gone(now: dict[str, Process]) -> list[Process]:
        return [e for n, e in now.items() if n.startswith("nan") and e.state is State.CRASHED]

    (process,) = gone(await box.node.until(lambda now: bool(gone(now))))
    evidence = "logits of the probe are NaN at token 1; the weights are damaged"
    assert (process.reason, process.restarts) == (evidence, 0)
    version = await box.version("nan")
    assert (version.status, version.status_reason) == (models.Status.UNLOADABLE, evidence)
    async with box.http() as http:
        (reason,) = await box.until_status(http, "nan", 503, evidence)
        assert evidence in reason["reason"]
        status, code, message = await box.ask(http, "nan")
        assert (status, code) == (503, "release_unavailable")
        assert evidence in message
        assert await box.ask(http, "support") == (200, "", "")


async def test_weights_overwritten_in_place_end_their_worker_until_they_are_added_again(
    box: Served, tmp_path: Path
) -> None:
    """The mapping shows the new bytes to the model that serves; the others are not affected."""
    path = tmp_path / "mine.gguf"
    shutil.copy(WEIGHTS, path)
    release = await box.node.release("mine", path)
    await box.node.must("services.create", "mine", {"release": release})

    def mine(now: dict[str, Process], state: State) -> list[Process]:
        return [e for n, e in now.items() if n.startswith("mine") and e.state is state]

    (before,) = mine(await box.node.until(lambda now: bool(mine(now, State.READY))), State.READY)
    os.utime(path)  # another time, the same content
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))
    await box.node.must("knobs.set", DEPLOYMENT, {"name": "queue_limit", "value": 9})  # wakes it
    (after,) = mine(await box.node.until(lambda now: bool(mine(now, State.CRASHED))), State.CRASHED)
    assert (after.name, after.restarts) == (before.name, 0)
    said = f"{path} was overwritten while it was served: its SHA-256 is "
    assert (after.reason or "").startswith(said)
    assert (await box.version("mine")).status is models.Status.UNLOADABLE
    async with box.http() as http:
        await box.until_status(http, "mine", 503)
        status, code, message = await box.ask(http, "mine")
        assert (status, code) == (503, "release_unavailable")
        assert "mine.gguf was overwritten while it was served" in message
        assert await box.ask(http, "support") == (200, "", "")
        shutil.copy(WEIGHTS, path)
        await box.add("mine", path)
        await box.until_status(http, "mine", 200)
        assert await box.ask(http, "mine") == (200, "", "")


POISON = """
import os
if b"engine.serving" in open("/proc/self/cmdline", "rb").read().split(b"\\0"):
    os.environ["GOMP_SPINCOUNT"] = "1000"
    from engine.serving.llama.context import Context
    began, decode = Context.__init__, Context.decode
    def begin(self, model, **given):
        self.adapted = bool(given.get("adapters"))
        began(self, model, **given)
    def poisoned(self, tokens, outputs):
        if self.adapted and tokens > 12:
            os.abort()
        return decode(self, tokens, outputs)
    Context.__init__, Context.decode = begin, poisoned
"""
"""A worker that libllama ends when an adapter computes a longer prompt."""


async def test_an_adapter_whose_requests_kill_the_worker_is_quarantined_alone(
    tmp_path: Path,
) -> None:
    """Two requests of it are enough; the base on the same worker answers afterwards."""
    (tmp_path / "sitecustomize.py").write_text(POISON)
    served = Served(tmp_path / "home")
    served.node.environment["PYTHONPATH"] = str(tmp_path)
    served.node.start()
    try:
        await served.furnish()
        await served.node.register("tuned", ADAPTER, base="ops@1.0.0")
        release = (await served.node.must("releases.create", "", {"model": "tuned"})).split()[0]
        await served.node.must("services.create", "tuned", {"release": release})
        async with served.http() as http:
            await served.until_status(http, "tuned", 200)
            assert await served.ask(http, "tuned") == (200, "", "")
            lost = 0
            while (await served.version("tuned")).status is not models.Status.UNLOADABLE:
                body = completion("tuned", prompt="order " * 20)
                answer = await http.post("/v1/completions", json=body)
                assert answer.status_code == 503
                lost += answer.json()["error"]["code"] == "worker_lost"
            await served.until_status(http, "tuned", 503, saying="tuned@1.0.0 cannot be loaded")
            status, code, message = await served.ask(http, "tuned")
            assert (status, code) == (503, "release_unavailable")
            assert "died 5 times" in message
            await served.until_status(http, "support", 200)
            assert await served.ask(http, "support") == (200, "", "")
        reason = (await served.version("tuned")).status_reason or ""
        assert re.search(rf"SIGABRT.*requests that were lost: req_\w+ \({release}\)", reason)
        assert lost == 1
        async with opened(served.node.home) as store, store.read() as session:
            assert (await deployments.find(session, DEPLOYMENT)).status is not Status.FAILING
    finally:
        served.node.end()


async def test_a_worker_that_dies_of_its_requests_stays_stopped_with_their_names(
    box: Served,
) -> None:
    """The evidence names the requests; one that waited is refused with it, not after its time."""
    deaths = supervision.Plan().deaths
    release = (
        await box.node.must(
            "releases.create", "", {"model": "ops", "engine": {"context_tokens": 640}}
        )
    ).split()[0]
    await box.node.must("services.create", "poisoned", {"release": release})

    def worker(now: dict[str, Process]) -> Process | None:
        names = [n for n, e in now.items() if e.deployment not in {None, DEPLOYMENT}]
        return next((now[n] for n in names if n.startswith("ops-1.0.0-")), None)

    def ready_again(number: int) -> Callable[[dict[str, Process]], bool]:
        return lambda now: (
            (found := worker(now)) is not None
            and (found.state, found.restarts) == (State.READY, number)
        )

    lost: list[str] = []
    async with box.http() as http:
        for number in range(deaths):
            process = worker(await box.node.until(ready_again(number)))
            assert process is not None
            assert process.pid is not None
            await box.until_status(http, "poisoned", 200)
            body = completion("poisoned", prompt="order " * 20, max_tokens=400, stream=True)
            async with http.stream("POST", "/v1/completions", json=body) as answer:
                lost.append(answer.headers["x-request-id"])
                lines = answer.aiter_lines()
                await anext(lines)
                waiting = asyncio.create_task(box.ask(http, "poisoned"))
                os.kill(process.pid, signal.SIGABRT)  # as libllama does
                assert any(["worker_lost" in line async for line in lines])
            if number < deaths - 1:
                assert (await waiting)[0] == 200  # its successor answers
        status, code, message = await waiting
    assert process is not None
    name = process.deployment or ""
    async with opened(box.node.home) as store, store.read() as session:
        verdict = await deployments.find(session, name)
    assert verdict.status is Status.FAILING
    evidence = verdict.status_reason or ""
    assert re.match(rf"it died {deaths} times within .* it was killed by SIGABRT", evidence)
    assert f"{lost[-2]} ({release})" in evidence
    assert (status, code) == (503, "release_unavailable")
    assert "is failing: it died" in message
    async with box.http() as http:
        assert await box.ask(http, "support") == (200, "", "")
    await box.node.must("deployments.restart", name, {})
    await box.node.until(is_in(f"{name}:1", State.READY))
