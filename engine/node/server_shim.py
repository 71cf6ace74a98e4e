"""`python -m engine.node.server_shim`: the parent of one supervised server, such as llama-server.

The node supervises it like a worker: the shim speaks the node's status lines for a program that
does not know them. It picks a free port of loopback, starts the command, waits until its
health path answers 200, publishes its address, and from then on checks its health. A server that
stops answering is killed with everything that it started. On SIGTERM the address is withdrawn,
requests under way may finish, and the server gets SIGTERM, then SIGKILL. What the server prints
goes to the shim's standard error, which is the log of the instance.

What to run comes as JSON in `PADDOCK_SERVER`, because command lines are readable by everyone and a
server's environment may hold secrets. Exit 0 after draining, 1 when the server failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import structlog

from engine.process.address import Address, Published
from storage.runtime import logs, parent
from storage.runtime.reporting import Reports

VARIABLE: Final = "PADDOCK_SERVER"
EVERY_S: Final = 1.0
PROBE_S: Final = 5.0

_HOST: Final = "127.0.0.1"
_PR_SET_PDEATHSIG: Final = 1
_OK: Final = b" 200"

_log = structlog.get_logger("server")


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What to run and how patiently; `{port}` and `{host}` are still to be filled in.

    `start_s` bounds the wait for readiness, `silent_s` the time without a healthy answer after it,
    `drain_s` the wait for requests under way, and again the wait for the server to exit.
    """

    command: tuple[str, ...]
    environment: dict[str, str] = {}
    health_path: str
    address: str
    start_s: float = 1800.0
    silent_s: float = 60.0
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
        try:
            self._process = subprocess.Popen(  # noqa: S603 an admin of the box wrote the command
                words,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                stderr=sys.stderr.fileno(),
                env=environment,
                start_new_session=True,  # so that it can be killed with everything it started
                preexec_fn=_die_with_parent,  # noqa: PLW1509 no thread runs yet
            )
        except OSError as error:
            raise Failed(
                f"{words[0]} cannot be started: {(error.strerror or str(error)).lower()}"
            ) from error
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
            async with asyncio.timeout(PROBE_S):
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
            async with asyncio.timeout(self.orders.drain_s):
                await asyncio.to_thread(self._process.wait)
        self.kill()

    def kill(self) -> None:
        """Kill it with everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with self._guard:  # before the group's number can be used again
            self._guard.kill()
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def main() -> int:
    """Run one server until SIGTERM."""
    parent.hold()
    parser = argparse.ArgumentParser(prog="python -m engine.node.server_shim", description=__doc__)
    parser.add_argument("--instance", required=True, help="The instance's name, for process lists.")
    parser.parse_args()
    reports = Reports.take_stdout()
    logs.configure()
    orders = msgspec.json.decode(os.environ[VARIABLE], type=Orders)
    Path(orders.address).unlink(missing_ok=True)
    try:
        asyncio.run(_serve(orders, reports))
    except Failed as error:
        _log.error("server failed", reason=str(error))
        reports.say(failed=str(error))
        return 1
    return 0


async def _serve(orders: Orders, reports: Reports) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    server = Server(orders)
    published = None
    try:
        if await _started(server, leave, reports):
            published = Published(Path(orders.address), Address(server.port, orders.health_path))
            reports.say(ready=True)
            await _watch(server, leave, reports, published)
        if published is not None:
            published.withdraw()
            await _unused(server, published, reports)
        await server.stop()
    finally:
        if published is not None:
            published.withdraw()
        server.kill()


async def _started(server: Server, leave: asyncio.Event, reports: Reports) -> bool:
    """Wait until it is ready; False on SIGTERM before that.

    Raises:
        Failed: it ended, or was not ready in time.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + server.orders.start_s
    while not await server.healthy():
        if (how := server.ended()) is not None:
            raise Failed(how)
        if loop.time() > until:
            path = server.orders.health_path
            raise Failed(f"{path} did not answer 200 within {server.orders.start_s:g} s")
        reports.say(loading=0.0)
        if await _passed(leave, EVERY_S / 4):
            return False
    return True


async def _watch(
    server: Server, leave: asyncio.Event, reports: Reports, published: Published
) -> None:
    """Send heartbeats until SIGTERM.

    Raises:
        Failed: it ended, or stopped answering.
    """
    loop = asyncio.get_running_loop()
    checks, healthy_at = 0, loop.time()
    while True:
        if (how := server.ended()) is not None:
            raise Failed(how)
        if await server.healthy():
            checks, healthy_at = checks + 1, loop.time()
        elif loop.time() - healthy_at > server.orders.silent_s:
            path, silent_s = server.orders.health_path, server.orders.silent_s
            raise Failed(f"{path} has not answered 200 for {silent_s:g} s")
        published.keep()
        _beat(reports, checks, published)
        if await _passed(leave, EVERY_S):
            return


async def _unused(server: Server, published: Published, reports: Reports) -> None:
    """Wait for the last request to end, within the drain timeout."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(server.orders.drain_s):
            checks = 0
            while published.leased and server.ended() is None:
                checks += 1
                _beat(reports, checks, published)
                await asyncio.sleep(EVERY_S / 10)


def _beat(reports: Reports, checks: int, published: Published) -> None:
    """A heartbeat. The shim cannot count requests; it sees whether there are any."""
    reports.say(beat=True, step=checks, running=int(published.leased), since_token_us=0)


async def _passed(leave: asyncio.Event, seconds: float) -> bool:
    """Wait for SIGTERM for so long; whether it has arrived."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(leave.wait(), seconds)
    return leave.is_set()


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


if __name__ == "__main__":
    sys.exit(main())
