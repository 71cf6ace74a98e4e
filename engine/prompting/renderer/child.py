"""One renderer process, as the pool sees it: runs a task at a time, killed when over its limits.

A task is limited in processor time, so that a busy machine fails none, and in a generous wall time.
Decides nothing about templates. Imported by `pool`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec

from engine.prompting.renderer import protocol
from engine.prompting.renderer.protocol import Answer, Keyed, Load, Missing, Ready, Source

_AGAIN_S: Final = 0.05
_SHORT_S: Final = 0.2
"""Processor time after which a task continues at low priority, so that it slows nothing down."""
_LOW: Final = 10
_PASSED_ON: Final = ("LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")
"""Variables by which Python finds its files. No others are passed on: they may hold secrets."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for one task: of processor time for compiling and rendering, and of wall time.

    A template that can be interrupted ends by itself at the limit; `slack_s` later it is killed.
    """

    render_s: float = 1.0
    compile_s: float = 5.0
    slack_s: float = 0.5
    wall_s: float = 120.0


LIMITS: Final = Limits()


@dataclass(slots=True, eq=False)
class Task:
    """One piece of work; `raw` is its encoded frame.

    `large`: the caller's input may make it slow. `attempts` counts the processes that died of it.
    """

    template: Keyed[Source]
    raw: bytes
    cpu_s: float
    large: bool
    result: asyncio.Future[Answer]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Death:
    """Why a process ended; `certain`: because of its task, not of something outside."""

    reason: str
    certain: bool
    external: bool = False


@dataclass(slots=True, eq=False)
class Child(asyncio.Protocol):
    """A process; `ready` once it can be given a task, `task` while it has one.

    `retired`: it had a long task, and ends with it, because no process can raise its own priority.
    """

    limits: Limits
    on_free: Callable[[Child], None]
    on_death: Callable[[Child, Death], None]
    task: Task | None = None
    ready: bool = False
    retired: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _transport: asyncio.Transport | None = None
    _received: bytearray = field(default_factory=bytearray)
    _timer: asyncio.TimerHandle | None = None
    _reaping: asyncio.Task[None] | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _killed: str = ""
    _began_s: float = 0.0
    _mark_s: float = 0.0
    _allowed_s: float = 0.0
    _short_s: float = _SHORT_S

    async def start(self) -> None:
        """Start the process.

        Raises:
            OSError: the system has no room for one more.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603, ASYNC220 vfork: a millisecond
                    [sys.executable, "-P", "-s", "-m", _MODULE, str(os.getpid())],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                )
        except OSError:
            ours.close()
            raise
        loop = asyncio.get_running_loop()
        self._began_s = time.monotonic()
        await loop.create_unix_connection(lambda: self, sock=ours)
        self._watch()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid if self._process is not None else 0

    def run(self, task: Task) -> None:
        """Give it a task."""
        self.task = task
        self._allowed_s = task.cpu_s + self.limits.slack_s
        self._short_s = _SHORT_S
        self._began_s = time.monotonic()
        self._mark_s = self._cpu_s()
        self._send(task.raw)
        self._watch()

    def kill(self, why: str = "it was stopped") -> None:
        """Kill the process; `on_death` follows."""
        self._killed = self._killed or why
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Kill the process and wait until it has ended."""
        self.kill()
        if self._transport is not None:
            self._transport.abort()
            await self._ended.wait()

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        self._received += data
        head = protocol.LENGTH.size
        if len(self._received) < head:
            return
        (length,) = protocol.LENGTH.unpack_from(self._received)
        if length > protocol.FRAME_LIMIT:
            self.kill(_NONSENSE)
        elif len(self._received) >= head + length:
            body = bytes(self._received[head : head + length])
            del self._received[: head + length]
            try:
                self._answered(protocol.answer(body))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self.kill(_NONSENSE)

    def connection_lost(self, _: Exception | None) -> None:
        """The process has ended, or is ending."""
        self._unwatch()
        self._reaping = asyncio.get_running_loop().create_task(self._reap(), name="renderer")

    def _answered(self, answer: Answer) -> None:
        task = self.task
        if isinstance(answer, Ready):
            self.ready = True
            self._unwatch()
        elif task is None:
            self.kill(_NONSENSE)
            return
        elif isinstance(answer, Missing):
            self._allowed_s += self.limits.compile_s
            self._short_s += self.limits.compile_s  # what is compiled is worth keeping
            self._send(protocol.encode(Load(task.template.key, task.template.source)) + task.raw)
            return
        else:
            self._unwatch()
            self.task = None
            if not task.result.done():
                task.result.set_result(answer)
            if self.retired:
                self.kill("it had a long task")
                return
        self.on_free(self)

    def _send(self, raw: bytes) -> None:
        if self._transport is not None:
            self._transport.write(raw)

    async def _reap(self) -> None:
        assert self._process is not None  # noqa: S101 a connection means a process
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()  # it closed its socket, so no answer will come
        code = await asyncio.to_thread(self._process.wait)
        self._ended.set()
        self.on_death(self, self._death(code))

    def _death(self, code: int) -> Death:
        if self._killed == _CPU:
            allowed_s = self._allowed_s - self.limits.slack_s
            return Death(f"it takes more than {allowed_s:.1f} s of processor time", certain=True)
        if self._killed:
            certain = self._killed == _NONSENSE
            return Death(self._killed, certain=certain, external=not certain)
        most = protocol.MEMORY // 2**20
        return {
            -signal.SIGXCPU: Death("it takes too much processor time", certain=True),
            -signal.SIGKILL: Death("its process was killed", certain=False, external=True),
            protocol.OUT_OF_MEMORY: Death(
                f"it takes more than {most} MiB of memory", certain=False
            ),
        }.get(code, Death(f"it crashes the process that renders it ({code})", certain=False))

    # the time

    def _cpu_s(self) -> float:
        """The processor time that the process has used."""
        try:  # the kernel's clock of another process, as clock_getcpuclockid(3) makes it
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return 0.0  # it has ended

    def _watch(self) -> None:
        first_s = min(max(self._allowed_s, _AGAIN_S), _SHORT_S)
        self._timer = asyncio.get_running_loop().call_later(first_s, self._check)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        used_s = self._cpu_s() - self._mark_s
        left_s = self._allowed_s - used_s
        if time.monotonic() - self._began_s > self.limits.wall_s:
            self.kill(f"its process did not answer within {self.limits.wall_s:g} s")
            return
        if self.task is not None and left_s <= 0:
            self.kill(_CPU)
            return
        if self.task is not None and used_s > self._short_s and not self.retired:
            self.retired = True
            with contextlib.suppress(OSError):  # it has just ended
                os.setpriority(os.PRIO_PROCESS, self.pid, _LOW)
        wait_s = left_s if self.retired else min(left_s, self._short_s - used_s)
        self._timer = asyncio.get_running_loop().call_later(max(wait_s, _AGAIN_S), self._check)


_CPU: Final = "too much processor time"
_NONSENSE: Final = "its process sent an invalid answer"
_MODULE: Final = "engine.prompting.renderer.process"
