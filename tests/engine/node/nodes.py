"""A real node in a new home, for tests: started, asked, watched, killed.

If the test run is killed, so is the node.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

from engine.registry import gguf_header, gguf_split, registration
from engine.registry.registration import File
from storage import intents, processes
from storage import store as stores
from storage.control_socket import client, nudges
from storage.control_socket.verbs.models import Add
from storage.home import paths as homes
from storage.home.paths import Home
from storage.intents import Intent
from storage.model_checks import ModelChecks
from storage.model_files import ModelFile
from storage.processes import Process
from storage.runtime import file_identity
from storage.store import Session, Store
from tests import home_fixtures
from tests.watchdogs import Watchdog

T = TypeVar("T")

ENGINE = {"context_tokens": 256, "max_sequences": 2, "threads": 1}
BOUND_S = 120.0


class RealNode:
    """`python -m engine` on a home; `patience` is its environment."""

    def __init__(self, root: Path, **patience: str) -> None:
        self.home: Home = homes.make(Home(root))
        self.environment = {
            **os.environ,
            "PADDOCK_GATEWAY__PORT": str(home_fixtures.free_port()),
            **patience,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None
        self._budgets = itertools.count(300)
        self._listeners = itertools.count()

    @property
    def pid(self) -> int:
        """The node's process id."""
        assert self.process is not None
        return self.process.pid

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it without waiting for anything."""
        return subprocess.Popen(
            [sys.executable, "-m", "engine", "--home", str(self.home.root)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self) -> None:
        """Start it and wait until it reports that its control socket is open."""
        self.process = self.spawn()
        self._watchdog = Watchdog(self.process.pid)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log()
        assert json.loads(line)["ready"] is True

    def stop(self) -> int:
        """Ask it to exit, and wait; its exit code."""
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(BOUND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            self._ended(process)

    def kill(self) -> list[psutil.Process]:
        """As a crash does; returns the children that it had."""
        assert self.process is not None
        process, self.process = self.process, None
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait(BOUND_S)
        self._ended(process)
        return children

    def end(self) -> None:
        """Stop it, if it runs."""
        if self.process is not None:
            self.stop()

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        if self._watchdog is not None:
            self._watchdog.release()
            self._watchdog = None
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def log(self) -> str:
        """The log of the node."""
        path = self.home.log("node")
        return path.read_text() if path.exists() else "(no log)"

    async def do(
        self, verb: str, target: str, arguments: Mapping[str, Any], reason: str = ""
    ) -> Intent:
        """Ask for an intent at the control socket, as a person does, and wait for its end."""
        accepted = await client.ask(self.home, verb, target, arguments, reason=reason)
        async with opened(self.home) as store:
            return await client.wait(store, accepted.intent_id, BOUND_S)

    async def must(self, verb: str, target: str, arguments: Mapping[str, Any]) -> str:
        """The same for an intent that has to be applied; the sentence of its outcome."""
        intent = await self.do(verb, target, arguments)
        assert intent.state is intents.State.APPLIED, intent.outcome
        return intent.outcome or ""

    async def register(
        self, model: str, *paths: Path, version: str = "1.0.0", base: str | None = None
    ) -> None:
        """Add a version as the job of `models add` does in the end, with nothing tried before.

        That job costs more than a second: its process, and one that loads the file. `paths` are
        a file, or the parts of a split model.
        """
        asked = Add(model=model, version=version, path=str(paths[0]), base=base)
        files = tuple(
            ModelFile(
                path=str(each),
                sha256=home_fixtures.digest(each),
                **file_identity.of(each)._asdict(),
            )
            for each in paths
        )
        file = File(sha256=file_identity.whole([each.sha256 for each in files]), files=files)
        parts = [(each.name, each) for each in paths]
        header = gguf_header.read(paths[0]) if len(paths) == 1 else gguf_split.read(parts)
        facts = registration.facts(header)
        store = await stores.attach(self.home)
        try:
            await store.write(
                lambda s: registration.register(
                    s, asked, file, facts, ModelChecks(), actor="t", at_us=1, intent_id=None
                )
            )
        finally:
            await store.close()

    async def release(self, model: str, *paths: Path, **more: Any) -> str:
        """A release of a model file on a separate deployment; its name."""
        engine = ENGINE | {"prefill_budget": next(self._budgets)}
        await self.register(model, *paths)
        said = await self.must("releases.create", "", {"model": model, "engine": engine, **more})
        return said.split()[0]

    async def next_change(self) -> None:
        """Wait for a nudge, a tenth of a second at most: not every change sends one."""
        with nudges.listen(self.home, f"next-{os.getpid()}") as listener:
            await listener.wait(timeout_s=0.1)

    async def until(self, holds: Callable[[dict[str, Process]], bool]) -> dict[str, Process]:
        """The processes by name as soon as `holds` is true of them."""
        return await self.found(_processes, holds)

    async def found(
        self,
        look: Callable[[Session], Awaitable[T]],
        holds: Callable[[T], bool],
        *,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> T:
        """What a read of the store returns as soon as `holds` is true of it.

        It is read at each nudge and a few times a second, with `meanwhile` after each call of it.
        """
        name = f"test-{os.getpid()}-{next(self._listeners)}"
        async with asyncio.timeout(2 * BOUND_S), opened(self.home) as store:
            with nudges.listen(self.home, name) as listener:
                while True:
                    async with store.read() as s:
                        seen = await look(s)
                    if holds(seen):
                        return seen
                    if meanwhile is not None:
                        await meanwhile()
                    await listener.wait(timeout_s=0.25 if meanwhile is None else 0.02)


@asynccontextmanager
async def opened(home: Home) -> AsyncIterator[Store]:
    """The store, as a screen opens it."""
    store = await stores.open(home, readonly=True)
    try:
        yield store
    finally:
        await store.close()


async def _processes(s: Session) -> dict[str, Process]:
    return {each.name: each for each in await processes.every(s)}


def ready(name: str) -> Callable[[dict[str, Process]], bool]:
    """Whether a process is ready, for `until`."""
    return lambda parts: name in parts and parts[name].state is processes.State.READY
