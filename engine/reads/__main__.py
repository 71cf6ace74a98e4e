"""`python -m engine.reads --home DIR --group GID`: reads the store for members of a Unix group.

Reports readiness and heartbeats on standard output, logs to standard error. Exits 0 on SIGTERM. It
gives way to everything else on the machine, and any fault ends it: the node starts it again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys
from pathlib import Path

import structlog

from engine.reads.server import Server
from storage import errors
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.runtime import heartbeat, logs, parent
from storage.runtime.reporting import Reports

_NICE = 10
_MEMORY = 1 << 30
"""Bytes. Statements run in other processes, with limits of their own."""

_log = structlog.get_logger("reads")


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    parent.hold()
    parser = argparse.ArgumentParser(prog="python -m engine.reads", description=__doc__)
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--group", type=int, required=True)
    given = parser.parse_args()
    logs.configure()
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    try:
        asyncio.run(_live(homes.find(given.home), given.group, Reports(1)))
    except (errors.StorageError, OSError) as error:
        _log.error("the store cannot be read for others", error=str(error))
        return 1
    return 0


async def _live(home: Home, gid: int, reports: Reports) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    with heartbeat.kept(lambda: reports.say(beat=clock.monotonic_us())):
        server = Server(home, gid)
        await server.start()
        reports.say(ready=True)
        await leave.wait()
        await server.close()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
