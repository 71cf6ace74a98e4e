"""`python -m runbooks --home DIR`: the runner, a process of the node that outlives terminals.

Reports readiness and heartbeats on standard output, logs to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

from runbooks import catalog
from runbooks.runner import BY, Runner
from storage import errors
from storage import store as stores
from storage.control_socket import nudges
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home

_PR_SET_PDEATHSIG: Final = 1
_BEAT_S: Final = 1.0

_log = structlog.get_logger("runner")


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    os.umask(0o077)
    if node := os.environ.get("PADDOCK_NODE"):  # die with the node that started this
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if str(os.getppid()) != node:
            return 0
    parser = argparse.ArgumentParser(prog="python -m runbooks", description=__doc__)
    parser.add_argument("--home", type=Path, default=None)
    home = homes.find(parser.parse_args().home)
    _logs()
    try:
        asyncio.run(_live(home))
    except errors.StorageError as error:
        _log.error("the runner cannot continue", error=str(error))
        return 1
    return 0


async def _live(home: Home) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    beating = asyncio.create_task(_beat())
    store = await stores.attach(home)
    try:
        for name, book in catalog.every(home).items():
            if isinstance(book, str):
                _log.error("a runbook cannot be used", runbook=name, error=book)
        with nudges.listen(home, BY) as listener:
            runner = Runner(store, lambda: catalog.every(home), now_us=clock.now_us)
            running = asyncio.create_task(runner.run(listener))
            leaving = asyncio.create_task(leave.wait())
            _say(ready=True)
            await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    finally:
        await store.close()
        beating.cancel()


async def _beat() -> None:
    """A heartbeat every second, whatever the store does: a busy store is not a dead runner."""
    while True:
        _say(beat=time.monotonic_ns() // 1000)
        await asyncio.sleep(_BEAT_S)


def _logs() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def _say(**words: object) -> None:
    try:
        os.write(1, msgspec.json.encode(words) + b"\n")
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
