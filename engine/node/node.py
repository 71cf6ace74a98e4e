"""The node: starts the parts of the box, keeps them as the store wants them, and leaves in order.

It hands everything to who knows it: parts to `parts`, which workers there are to `workers`,
decisions to `engine.node.supervision`, the door to `door`, facts to `records`. It never
produces a token, never answers HTTP and never decides an intent. Imported by `engine.__main__`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from importlib import metadata
from typing import Any, Final

import msgspec
import structlog

from engine.node import commands, log_rotation, recovery
from engine.node.control_socket import Door
from engine.node.jobs import Jobs
from engine.node.records import Records
from engine.node.specs import GONE, Fact, Spec
from engine.node.supervised import Part
from engine.node.workers import Fit, Workers
from storage import errors
from storage.control_socket import nudges
from storage.home import clock
from storage.home.config import Config
from storage.home.paths import Home

LOOK_S: Final = 5.0
SETTLE_S: Final = 5.0
GREET_S: Final = 0.5
"""For gateway and workers to find each other before anybody else wants a processor."""
FLUSH_S: Final = 3.0

FAULT: Final = 1
PORT_TAKEN: Final = 4
_COMING: Final = frozenset({"stopped", "starting"})
"""A part that was begun just now has not been started yet."""

_log = structlog.get_logger("node")


class Node:
    """One life of the box."""

    def __init__(
        self,
        home: Home,
        life: recovery.Life,
        config: Config,
        *,
        gateway: subprocess.Popen[bytes],
        say: Callable[..., None],
    ) -> None:
        self._home = home
        self._store = life.store
        self._config = config
        self._life = life
        self._gateway = gateway
        self._say = say
        self._records = Records(life.store, now_us=clock.now_us, owed=life.owed)
        self._parts: dict[str, Part] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leave = asyncio.Event()
        self._heard = asyncio.Event()
        self.why = ""
        self._code = 0
        self._damage: list[str] = []
        self._following: asyncio.Task[None] | None = None
        self._workers = Workers(
            home,
            life.store,
            self._parts,
            begin=lambda spec, fit: self._begin(spec, fit=fit),
            forget=lambda name: self._records.tell(Fact(name, "worker", GONE)),
            now_us=clock.monotonic_us,
        )
        self._jobs = Jobs(home, life.store, now_us=clock.now_us, monotonic_us=clock.monotonic_us)
        self._door = Door(
            home,
            life.store,
            config,
            now_us=clock.now_us,
            state=self.state,
            stop=self.stop,
            runner=lambda: self._pid("runner"),
        )

    async def run(self) -> int:
        """Serve until told to leave; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told, signal.Signals(number).name)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a node outlives its terminal
        writing = self._keep(self._records.run(), "records")
        listener = nudges.listen(self._home, "node")
        try:
            self._begin(commands.gateway(self._home), self._gateway)
            await self._follow()
            await self._door.open()
            self._say(ready=True, pid=os.getpid())
            settling = self._keep(self._settle(), "start of the other parts")
            await self._watch(listener)
            settling.cancel()
        finally:
            await self._end()
            writing.cancel()
            if self._following is not None:
                self._following.cancel()
            listener.close()
        return self._code

    def state(self) -> dict[str, Any]:
        """What runs here now, as the door tells it."""
        return {
            "pid": os.getpid(),
            "version": metadata.version("paddock"),
            "started_at_us": self._life.started_at_us,
            "trouble": self._records.trouble or "; ".join(self._damage) or None,
            "processes": [
                {
                    "name": part.fact.name,
                    "kind": part.fact.kind,
                    "pid": part.fact.pid,
                    "state": part.fact.state,
                    "reason": part.fact.reason,
                    "restarts": part.fact.restarts,
                }
                for part in self._parts.values()
            ],
        }

    def stop(self, why: str, code: int = 0) -> None:
        """Drain and leave."""
        if not self._leave.is_set():
            _log.info("leaving", reason=why)
            self.why = why
            self._code = code
            self._leave.set()

    def _told(self, name: str) -> None:
        if self._leave.is_set():  # told twice: do not wait for anybody's work
            for part in self._parts.values():
                part.kill()
        self.stop(f"{name} came")

    def _pid(self, name: str) -> int | None:
        part = self._parts.get(name)
        return part.pid if part else None

    # parts

    def _begin(
        self,
        spec: Spec,
        started: subprocess.Popen[bytes] | None = None,
        fit: Fit | None = None,
    ) -> None:
        part = Part(
            spec, monotonic_us=clock.monotonic_us, tell=self._note, started=started, fit=fit
        )
        self._parts[spec.name] = part
        self._tasks[spec.name] = self._keep(part.run(), spec.name)
        self._tasks[spec.name].add_done_callback(lambda _: self._heard.set())

    def _keep(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Run something; a fault in it is the node's end, because the next node repairs."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("a task of the node failed", task=name, exc_info=error)
                self.stop(f"the node cannot go on: {name} failed ({error!r})", FAULT)

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        return task

    def _note(self, fact: Fact) -> None:
        self._records.tell(fact)
        self._heard.set()
        if fact.name == "gateway" and fact.failed and not self._parts["gateway"].was_ready:
            self.stop(fact.failed, PORT_TAKEN)

    async def _settle(self) -> None:
        """Start what tokens do not need once what they need is there, or has had its time."""
        if any(part.spec.kind == "worker" for part in self._parts.values()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    while any(part.fact.state in _COMING for part in self._parts.values()):
                        self._heard.clear()
                        await self._heard.wait()
            await asyncio.sleep(GREET_S)
        for spec in (commands.control(self._home), commands.runner(self._home)):
            if not self._leave.is_set():
                self._begin(spec)
        if not self._leave.is_set():
            self._following = self._keep(self._jobs.run(), "jobs")
        if not self._life.clean:  # reads the whole file: after everything that people wait for
            try:
                self._damage = await recovery.check(self._store)
            except errors.StorageError as error:
                self._damage = [f"the store could not be checked: {error}"]

    async def _watch(self, listener: nudges.Listener) -> None:
        """Keep the workers as the splits want them."""
        leaving = asyncio.create_task(self._leave.wait())
        while not leaving.done():
            nudge = asyncio.create_task(listener.wait(timeout_s=self._patience_s()))
            await asyncio.wait((leaving, nudge), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                nudge.cancel()
                return
            written = [part.spec.log for part in self._parts.values()]
            await asyncio.to_thread(log_rotation.trim, [self._home.log("node"), *written])
            try:
                if await self._store.changed() or self._workers.leaving:
                    await self._follow()
            except errors.StorageError as error:
                _log.warning("the store cannot be read; parts stay", error=str(error))

    def _patience_s(self) -> float:
        return min(LOOK_S, self._workers.linger_us / 2e6) if self._workers.leaving else LOOK_S

    async def _follow(self) -> None:
        """Put away what has ended, and do what the splits say now."""
        for name in [name for name, task in self._tasks.items() if task.done()]:
            del self._parts[name], self._tasks[name]
        await self._workers.follow()

    # the end

    async def _end(self) -> None:
        """First the gateway, so that what it answers can end; then whoever answered for it."""
        await self._jobs.stop()
        first = ("gateway", "control", "runner")
        await self._stop([name for name in self._parts if name in first])
        await self._stop([name for name in self._parts if name not in first])
        await self._records.flush(FLUSH_S)
        await self._door.close()

    async def _stop(self, names: list[str]) -> None:
        for name in names:
            self._parts[name].stop()
        await asyncio.gather(*(self._tasks[name] for name in names), return_exceptions=True)


def say(**words: Any) -> None:
    """A line on standard output; whoever started the node may read it, or may have gone."""
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), msgspec.json.encode(words) + b"\n")
