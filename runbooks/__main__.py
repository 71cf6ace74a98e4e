"""`python -m runbooks --home DIR`: the runner, a process of the node that outlives terminals.

Reports readiness and heartbeats on standard output, logs to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import structlog

from storage import errors
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.runtime import collector, heartbeat, logs, parent
from storage.runtime.reporting import Reports

with collector.paused():
    from runbooks import catalog
    from runbooks.runner import Runner
    from runbooks.walk.box import BY
    from storage import store as stores
    from storage.control_socket import nudges
    from storage.store import Store

_log = structlog.get_logger("runner")


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    parent.hold()
    parser = argparse.ArgumentParser(prog="python -m runbooks", description=__doc__)
    parser.add_argument("--home", type=Path, default=None)
    home = homes.find(parser.parse_args().home)
    logs.configure()
    try:
        asyncio.run(_live(home, Reports(1)))
    except errors.StorageError as error:
        _log.error("the runner cannot continue", error=str(error))
        return 1
    return 0


async def _live(home: Home, reports: Reports) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    with heartbeat.kept(lambda: reports.say(beat=clock.monotonic_us())):
        store = await stores.attach(home)
        try:
            await _work(home, store, reports, leave)
        finally:
            await store.close()


async def _work(home: Home, store: Store, reports: Reports, leave: asyncio.Event) -> None:
    for name, book in catalog.every(home).items():
        if isinstance(book, str):
            _log.error("a runbook cannot be used", runbook=name, error=book)
    with nudges.listen(home, BY) as listener:
        runner = Runner(store, lambda: catalog.every(home), now_us=clock.now_us)
        running = asyncio.create_task(runner.run(listener))
        leaving = asyncio.create_task(leave.wait())
        reports.say(ready=True)
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
