"""The node: starts the processes of the box, keeps them as the store asks, and stops in order.

Each process is kept by `supervised`, with the decisions of `supervision`; `instances` knows which
workers there are, `control_socket` listens to people, `records` writes what happened. The node
never produces a token, never answers HTTP and never decides an intent. Imported by
`engine.__main__`.
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

from engine.metering.gpu import Gpus
from engine.node import commands, port_owner, process_logs, recovery
from engine.node.control_requests import ControlRequests
from engine.node.control_socket import ControlSocket
from engine.node.instances import Instances
from engine.node.jobs import Jobs
from engine.node.placement import Device
from engine.node.records import Records
from engine.node.running import Running
from engine.node.specs import GONE, Fact
from storage import errors, keys
from storage.control_socket import nudges
from storage.home import access, clock
from storage.home.config import Config
from storage.home.paths import Home

LOOK_S: Final = 5.0
SETTLE_S: Final = 5.0
GREET_S: Final = 0.5
"""For gateway and workers to connect before the other processes compete for the CPU."""
FLUSH_S: Final = 3.0

FAULT: Final = 1
PORT_TAKEN: Final = 4
_COMING: Final = frozenset({"stopped", "starting"})  # "stopped" before its first start

_log = structlog.get_logger("node")


class Node:
    """One run of the box."""

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
        self._processes = Running(self._keep, tell=self._note, on_end=self._on_end)
        self._open = self._announced = False
        self._leave = asyncio.Event()
        self._heard = asyncio.Event()
        self._ended = asyncio.Event()
        self.why = ""
        self._code = 0
        self._damage: list[str] = []
        self._locked: str | None = None
        self._replaced = life.store.replaced
        self._following: asyncio.Task[None] | None = None
        self._gpus = Gpus(monotonic_us=clock.monotonic_us)
        self._instances = Instances(
            home,
            life.store,
            self._processes,
            begin=lambda spec, prepare: self._processes.begin(spec, prepare=prepare),
            forget=lambda name: self._records.tell(Fact(name, "worker", GONE)),
            devices=self._devices,
            now_us=clock.monotonic_us,
        )
        self._jobs = Jobs(home, life.store, now_us=clock.now_us, monotonic_us=clock.monotonic_us)
        requests = ControlRequests(
            home,
            life.store,
            config,
            now_us=clock.now_us,
            state=self.state,
            stop=self.stop,
            runner=lambda: self._pid("runner"),
        )
        self._control_socket = ControlSocket(home, requests, group=config.people.group)

    async def run(self) -> int:
        """Serve until asked to stop; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a node outlives its terminal
        writing = self._keep(self._records.run(), "records")
        settling: asyncio.Task[None] | None = None
        listener = nudges.listen(self._home, "node")
        try:
            self._processes.begin(commands.gateway(self._home), self._gateway)
            await self._follow()
            await self._control_socket.open()
            self._open = True
            self._announce()
            settling = self._keep(self._settle(), "start of the other processes")
            await self._watch(listener)
        finally:
            if settling is not None:  # it must not start a process behind those that are stopped
                settling.cancel()
            await self._end()
            writing.cancel()
            if self._following is not None:
                self._following.cancel()
            listener.close()
        return self._code

    def state(self) -> dict[str, Any]:
        """What is running now, as the control socket reports it."""
        return {
            "pid": os.getpid(),
            "version": metadata.version("paddock"),
            "started_at_us": self._life.started_at_us,
            "gateway": {
                "host": self._config.gateway.host,
                "port": self._processes["gateway"].fact.port if self._processes else None,
            },
            "control_socket": self._control_socket.state(),
            "trouble": self._records.trouble or "; ".join(self._damage) or self._locked,
            "processes": self._processes.state(),
        }

    def stop(self, why: str, code: int = 0) -> None:
        """Drain and stop."""
        if not self._leave.is_set():
            _log.info("stopping", reason=why)
            self.why = why
            self._code = code
            self._leave.set()

    def _on_signal(self, name: str) -> None:
        if self._leave.is_set():  # a second signal: do not wait for work to finish
            self._processes.kill()
        self.stop(f"received {name}")

    def _pid(self, name: str) -> int | None:
        process = self._processes.get(name)
        return process.pid if process else None

    def _devices(self) -> list[Device]:
        """The GPUs now; blocks while the driver does."""
        return [
            Device(each.index, each.memory_total - each.memory_used) for each in self._gpus.sample()
        ]

    # processes

    def _on_end(self) -> None:
        self._heard.set()
        self._ended.set()

    def _keep(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Run a task whose failure ends the node; the next start repairs the store."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("a task of the node failed", task=name, exc_info=error)
                self.stop(f"the node stopped: {name} failed ({error!r})", FAULT)

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        return task

    def _note(self, fact: Fact) -> None:
        fact = self._instances.observe(fact)
        self._records.tell(fact)
        self._heard.set()
        self._announce()
        if fact.name == "gateway" and fact.failed and not self._processes["gateway"].was_ready:
            holder = port_owner.find(self._config.gateway.port)
            self.stop(f"{fact.failed}; {holder}" if holder else fact.failed, PORT_TAKEN)

    def _announce(self) -> None:
        """Announce once that the node and its port can be reached."""
        gateway = self._processes.get("gateway")
        if self._open and not self._announced and gateway is not None and gateway.was_ready:
            self._announced = True
            self._say(ready=True, pid=os.getpid(), port=gateway.fact.port)

    async def _settle(self) -> None:
        """Start the processes that serving does not need, after the others are ready or late."""
        if any(each.spec.deployment for each in self._processes.values()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    while any(each.fact.state in _COMING for each in self._processes.values()):
                        self._heard.clear()
                        await self._heard.wait()
            await asyncio.sleep(GREET_S)
        others = [commands.control(self._home), commands.runner(self._home)]
        gid = access.group(self._config.people.group)
        if gid is None:  # its row, if the group was removed from config.toml
            self._records.tell(Fact("reads", "reads", GONE))
        else:
            others.insert(0, commands.reads(self._home, gid))
        for spec in others:
            if not self._leave.is_set():
                self._processes.begin(spec)
        if not self._leave.is_set():
            self._following = self._keep(self._jobs.run(), "jobs")
        if not self._life.clean:  # reads the whole file, so it comes last
            try:
                self._damage = await recovery.check(self._store)
            except errors.StorageError as error:
                self._damage = [f"the store could not be checked: {error}"]

    async def _watch(self, listener: nudges.Listener) -> None:
        """Keep the instances as the store asks."""
        behind = False
        while not self._leave.is_set():
            waits = (self._leave.wait(), self._ended.wait(), listener.wait(self._patience_s()))
            woken = [asyncio.create_task(each) for each in waits]
            try:
                await asyncio.wait(woken, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in woken:
                    task.cancel()
            if self._leave.is_set():
                return
            logs = [each.spec.log for each in self._processes.values()]
            await asyncio.to_thread(process_logs.trim, [self._home.log("node"), *logs])
            await self._instances.look_at_files()
            behind = behind or self._ended.is_set() or self._instances.settling
            self._ended.clear()
            try:
                if await self._store.changed() or behind:
                    behind = True
                    self._restate()
                    await self._follow()
                    behind = False
            except errors.StorageError as error:
                _log.warning("the store cannot be read; no process is changed", error=str(error))

    def _restate(self) -> None:
        """After a restore: record this run and its processes in the store as it is now.

        Intents claimed by control and the runner are reopened when they restart.
        """
        if self._store.replaced == self._replaced:
            return
        self._replaced = self._store.replaced
        _log.warning("the store was replaced; the processes that use it start again")
        self._damage = []  # it was that of the file before
        self._records.restate(self._life.record, self._processes.facts())
        for name in ("control", "runner", "reads"):
            if name in self._processes:
                self._processes[name].kill()

    def _patience_s(self) -> float:
        return min(LOOK_S, self._instances.linger_us / 2e6) if self._instances.settling else LOOK_S

    async def _follow(self) -> None:
        """Remove processes that have ended, and follow the store."""
        async with self._store.read() as session:
            self._locked = await keys.trouble(session)
        self._processes.prune()
        await self._instances.follow()

    # the end

    async def _end(self) -> None:
        """Stop the gateway and let its answers complete, then stop the processes behind it."""
        await self._jobs.stop()
        first = ("gateway", "control", "runner", "reads")
        await self._processes.stop([name for name in self._processes if name in first])
        await self._processes.stop([name for name in self._processes if name not in first])
        await self._records.flush(FLUSH_S)
        await self._control_socket.close()


def say(**words: Any) -> None:
    """Write a line to standard output for the parent process, if it still reads."""
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), msgspec.json.encode(words) + b"\n")
