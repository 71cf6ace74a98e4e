"""`python -m engine.jobs --home DIR --job N`: runs the current attempt of one job.

Runs at low CPU and idle disk priority, so that it does not slow serving down. Sends heartbeats on
standard output. Exit 0 once the attempt is settled; SIGTERM queues the job again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Final

import psutil
import structlog

from storage import errors
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.runtime import collector, heartbeat, logs, parent
from storage.runtime.reporting import Reports

with collector.paused():
    from engine.jobs.attempt import Attempt
    from storage import store as stores

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
        asyncio.run(_live(homes.find(arguments.home), arguments.job, Reports(1)))
    except errors.StorageError as error:
        _log.error("the job cannot continue", job=arguments.job, error=str(error))
        return 1
    return 0


async def _live(home: Home, id: int, reports: Reports) -> None:
    with heartbeat.kept(lambda: reports.say(beat=clock.monotonic_us())):
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


if __name__ == "__main__":
    sys.exit(main())
