"""`python -m engine.jobs --home DIR --job N`: runs the current attempt of one job.

Runs at low CPU and idle disk priority, so that it does not slow serving down. Sends heartbeats on
standard output. Exit 0 once the attempt is settled; SIGTERM queues the job again.
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
import psutil
import structlog

from engine.jobs.attempt import Attempt
from engine.process import heartbeat, logs, parent
from storage import errors
from storage import store as stores
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home

_NICE: Final = 10

_log = structlog.get_logger("jobs")


def main() -> int:
    """Run one attempt; returns the exit code."""
    parent.hold()
    parser = argparse.ArgumentParser(prog="python -m engine.jobs", description=__doc__)
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--job", type=int, required=True)
    arguments = parser.parse_args()
    logs.configure()
    _yield_to_serving()
    try:
        asyncio.run(_live(homes.find(arguments.home), arguments.job))
    except errors.StorageError as error:
        _log.error("the job cannot continue", job=arguments.job, error=str(error))
        return 1
    return 0


async def _live(home: Home, id: int) -> None:
    with heartbeat.kept(lambda: _say(beat=clock.monotonic_us())):
        store = await stores.attach(home)
        try:
            attempt = Attempt(home, store, id, now_us=clock.now_us, monotonic_us=clock.monotonic_us)
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, attempt.stop)
            await attempt.run()
        finally:
            await store.close()


def _yield_to_serving() -> None:
    """Lower the CPU and disk priority, where the system allows it."""
    process = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError):
        process.nice(_NICE)
    with contextlib.suppress(psutil.Error, OSError):
        process.ionice(psutil.IOPRIO_CLASS_IDLE)


def _say(**words: object) -> None:
    """Write one status line to the node; a full pipe is ignored."""
    with contextlib.suppress(OSError):
        os.write(1, msgspec.json.encode(words) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
