"""`python -m engine.control --home DIR`: the controllers, the host's samples, alerts, retention.

Reports readiness and heartbeats on standard output, logs to standard error. Exits 0 on SIGTERM;
any fault ends it, and the node restarts it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import structlog

from storage import errors
from storage.home import paths as homes
from storage.home.paths import Home
from storage.runtime import collector, heartbeat, logs, parent
from storage.runtime.reporting import Reports

with collector.paused():
    from engine.control import reconcile, upstreams
    from engine.control.ab_tests.controller import AbTests
    from engine.control.alerts.delivery import Delivery
    from engine.control.alerts.rounds import Rounds
    from engine.control.incidents.controller import Incidents
    from engine.control.intents import BY, Intents
    from engine.control.retention import Keeper, schedule
    from engine.control.rollouts.controller import Rollouts
    from engine.control.scoring import Scorer
    from engine.metering.gpu import Gpus
    from engine.metering.host import Host
    from engine.metering.telemetry import Telemetry
    from storage import store as stores
    from storage.control_socket import nudges
    from storage.home import clock, config
    from storage.home.config import Config
    from storage.store import Store

_log = structlog.get_logger("control")


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    parent.hold()
    parser = argparse.ArgumentParser(prog="python -m engine.control", description=__doc__)
    parser.add_argument("--home", type=Path, default=None)
    home = homes.find(parser.parse_args().home)
    logs.configure()
    try:
        asyncio.run(_live(home, Reports(1)))
    except errors.StorageError as error:
        _log.error("control cannot continue", error=str(error))
        return 1
    return 0


async def _live(home: Home, reports: Reports) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    settings = config.load(home)
    with heartbeat.kept(lambda: reports.say(beat=clock.monotonic_us())):
        store = await stores.attach(home)
        try:
            await _work(home, settings, store, reports, leave)
        finally:
            await store.close()


async def _work(
    home: Home, settings: Config, store: Store, reports: Reports, leave: asyncio.Event
) -> None:
    with nudges.listen(home, BY) as listener:
        loop = reconcile.Loop(
            store, [Intents(), Rollouts(), AbTests(), Incidents()], now_us=clock.now_us
        )
        gpus = Gpus(monotonic_us=clock.monotonic_us)
        rounds = Rounds(store, now_us=clock.now_us, monotonic_us=clock.monotonic_us)
        telemetry = Telemetry(store, Host(home.root), gpus, now_us=clock.now_us)
        scheduler = schedule(Keeper(store, settings.retention, now_us=clock.now_us))
        scheduler.add_job(upstreams.sweep, "interval", hours=1, args=(home, store, clock.now_us))
        scheduler.add_job(
            Scorer(store).run, "interval", minutes=1, coalesce=True, max_instances=1, id="scoring"
        )
        scheduler.start()
        reports.say(ready=True)
        tasks = {
            asyncio.create_task(loop.run(listener)),
            asyncio.create_task(telemetry.run()),
            asyncio.create_task(rounds.run()),
            asyncio.create_task(Delivery(store, now_us=clock.now_us).run()),
            asyncio.create_task(leave.wait()),
        }
        ended, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        scheduler.shutdown(wait=False)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        gpus.close()
        for task in ended:
            task.result()


if __name__ == "__main__":
    sys.exit(main())
