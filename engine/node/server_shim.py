"""`python -m engine.node.server_shim`: the parent of one supervised server, such as llama-server.

The node supervises it like a worker: the shim speaks the node's status lines for a program that
does not know them. It picks a free port of loopback, starts the command, waits until its health
path answers 200, publishes its address, and from then on checks its health. Heartbeats say since
when a server has not answered; in the end it is killed with everything that it started. On SIGTERM
the address is withdrawn, requests under way may finish, and the server gets SIGTERM, then SIGKILL.
What it prints goes to the shim's standard error, the log of the instance, at a bounded rate.

What to run comes as JSON in `PADDOCK_SERVER`, because command lines are readable by everyone and a
server's environment may hold secrets. Exit 0 after draining, 1 when the server failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec
import structlog

from engine.node import server_process
from engine.node.server_process import Failed, Orders, Server
from engine.process.address import Address, Published
from storage.runtime import logs, parent
from storage.runtime.reporting import Reports

EVERY_S: Final = 1.0

_log = structlog.get_logger("server")


def main() -> int:
    """Run one server until SIGTERM."""
    parent.hold()
    server_process.adopt()
    parser = argparse.ArgumentParser(prog="python -m engine.node.server_shim", description=__doc__)
    parser.add_argument("--instance", required=True, help="The instance's name, for process lists.")
    parser.parse_args()
    reports = Reports.take_stdout()
    logs.configure()
    orders = msgspec.json.decode(os.environ[server_process.VARIABLE], type=Orders)
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
        server_process.kill_what_is_left()
        server.last_words()


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


class _Checks:
    """The health of a server that was ready; `count` is the number of checks it has passed."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._healthy_s = self._loop.time()
        self.count = 1  # it was ready

    @property
    def unanswered_s(self) -> float:
        """For how long it has not answered, 0 while that is no longer than one check may take."""
        since_s = self._loop.time() - self._healthy_s
        return since_s if since_s > self._server.orders.probe_s + EVERY_S else 0.0

    async def run(self) -> None:
        """Check until cancelled. A check that hangs must not hold up the heartbeats."""
        while True:
            if await self._server.healthy():
                self.count += 1
                self._healthy_s = self._loop.time()
            await asyncio.sleep(EVERY_S)


async def _watch(
    server: Server, leave: asyncio.Event, reports: Reports, published: Published
) -> None:
    """Send heartbeats until SIGTERM.

    Raises:
        Failed: it ended, or stopped answering.
    """
    checks = _Checks(server)
    checking = asyncio.create_task(checks.run(), name="health")
    try:
        while True:
            if (how := server.ended()) is not None:
                raise Failed(how)
            unanswered_s, silent_s = checks.unanswered_s, server.orders.silent_s
            if unanswered_s > silent_s:
                path = server.orders.health_path
                raise Failed(f"{path} has not answered 200 for {silent_s:g} s")
            published.keep()
            _beat(reports, checks.count, published, unanswered_s)
            if await _passed(leave, EVERY_S):
                return
    finally:
        checking.cancel()


async def _unused(server: Server, published: Published, reports: Reports) -> None:
    """Wait for the last request to end, within the drain timeout."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(server.orders.drain_s):
            checks = 0
            while published.leased and server.ended() is None:
                checks += 1
                _beat(reports, checks, published)
                await asyncio.sleep(EVERY_S / 10)


def _beat(reports: Reports, checks: int, published: Published, unanswered_s: float = 0.0) -> None:
    """A heartbeat. The shim cannot count requests; it sees whether there are any."""
    reports.say(
        beat=True,
        step=checks,
        running=int(published.leased),
        since_token_us=0,
        unanswered_us=int(unanswered_s * 1e6),
    )


async def _passed(leave: asyncio.Event, seconds: float) -> bool:
    """Wait for SIGTERM for so long; whether it has arrived."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(leave.wait(), seconds)
    return leave.is_set()


if __name__ == "__main__":
    sys.exit(main())
