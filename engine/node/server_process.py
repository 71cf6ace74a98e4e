"""The process of a supervised server, as its shim starts, checks and ends it.

Never reports to the node. Imported by `engine.node.server_shim`, and by `commands` for the orders.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from typing import Final

import msgspec
import psutil
import structlog

from engine.node.server_output import Output
from storage.runtime import parent

VARIABLE: Final = "PADDOCK_SERVER"
PROBE_S: Final = 5.0
"""How long one check of its health may take."""

SILENT_S: Final = 60.0

_HOST: Final = "127.0.0.1"
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_ROUNDS: Final = 10
_EXIT_SHARE: Final = 0.75
"""Of the drain timeout: the node waits as long for the shim, which may still have to kill."""
_OK: Final = b" 200"

_log = structlog.get_logger("server")


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """The command and its timeouts; `{port}` and `{host}` are still to be filled in.

    `start_s` bounds the wait for readiness, `silent_s` the time without a healthy answer after it,
    `probe_s` one check of its health, `drain_s` the wait for requests under way, and three quarters
    of that the wait for the server to exit.
    """

    command: tuple[str, ...]
    environment: dict[str, str] = {}
    health_path: str
    address: str
    start_s: float = 1800.0
    silent_s: float = SILENT_S
    probe_s: float = PROBE_S
    drain_s: float = 20.0


class Failed(Exception):
    """The server cannot work; the message says why."""


class Server:
    """The process of the server, and its port."""

    def __init__(self, orders: Orders) -> None:
        """Start it.

        Raises:
            Failed: the command cannot be started.
        """
        self.orders = orders
        self.port = free_port()
        words = [_filled(word, self.port) for word in orders.command]
        environment = {n: v for n, v in os.environ.items() if n not in {VARIABLE, parent.NODE}}
        environment |= {name: _filled(v, self.port) for name, v in orders.environment.items()}
        self._output = Output(sys.stderr.fileno())
        try:
            self._process = subprocess.Popen(  # noqa: S603 an admin of the box wrote the command
                words,
                stdin=subprocess.DEVNULL,
                stdout=self._output.pipe,
                stderr=self._output.pipe,
                env=environment,
                start_new_session=True,  # so that it can be killed with everything it started
                preexec_fn=_die_with_parent,  # noqa: PLW1509 no thread runs yet
            )
        except OSError as error:
            raise Failed(
                f"{words[0]} cannot be started: {(error.strerror or str(error)).lower()}"
            ) from error
        finally:
            self._output.close()
        self._guard = _guard(self._process.pid)
        _log.info("server started", pid=self._process.pid, port=self.port, command=words[0])

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def ended(self) -> str | None:
        """How it ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        if code >= 0:
            return f"the server exited with code {code}; its log says why"
        return f"the server was killed by {signal.Signals(-code).name}"

    async def healthy(self) -> bool:
        """Whether its health path answers 200."""
        try:
            async with asyncio.timeout(self.orders.probe_s):
                reader, writer = await asyncio.open_connection(_HOST, self.port)
                try:
                    writer.write(
                        f"GET {self.orders.health_path} HTTP/1.1\r\nhost: {_HOST}\r\n"
                        "connection: close\r\n\r\n".encode()
                    )
                    return _OK in (await reader.readline())[:16]
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return False

    async def stop(self) -> None:
        """Ask it to exit, and kill it when it does not."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.orders.drain_s * _EXIT_SHARE):
                await asyncio.to_thread(self._process.wait)
        self.kill()

    def kill(self) -> None:
        """Kill it with everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with self._guard:  # before the group's number can be used again
            self._guard.kill()
        self._process.wait()

    def last_words(self) -> None:
        """Wait until its output is in the log; call it when none of its children is left."""
        self._output.end()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def adopt() -> None:
    """Adopt the processes that servers leave behind in sessions of their own."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_what_is_left() -> None:
    """Kill all descendants, repeatedly, until none is left."""
    for _ in range(_ROUNDS):
        left = psutil.Process().children(recursive=True)
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=1)
        if not left:
            return


def free_port() -> int:
    """A free port of loopback."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _filled(word: str, port: int) -> str:
    return word.replace("{port}", str(port)).replace("{host}", _HOST)


def _guard(group: int) -> subprocess.Popen[bytes]:
    """A process that kills the group when this one dies without doing so, by SIGKILL.

    The kernel then kills the server alone, and what it started would keep a GPU's memory.
    """
    return subprocess.Popen(  # noqa: S603 a fixed command
        ("/bin/sh", "-c", 'read -r _; kill -s KILL -- "-$0"', str(group)),
        stdin=subprocess.PIPE,  # closed by the kernel when this process dies
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,
    )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
