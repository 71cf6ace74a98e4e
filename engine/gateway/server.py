"""The running gateway: wiring and draining.

Imported by `python -m engine.gateway`.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from dataclasses import dataclass
from typing import Final

import structlog

from engine.backends.expected_starts import ExpectedStarts
from engine.backends.fleet import Fleet
from engine.backends.local import LocalBackend
from engine.backends.protocol import Backend
from engine.execution import journal
from engine.execution.catalog import Catalog
from engine.execution.execute import Executor
from engine.execution.previews import Previews
from engine.execution.recorder import Recorder
from engine.execution.shadow_copies import ShadowCopies
from engine.execution.snapshot import Snapshot
from engine.gateway import auth, health, quarantine, routes, succession
from engine.gateway.absences import Absences
from engine.gateway.bodies import Bodies
from engine.gateway.context import Context
from engine.gateway.http import limits
from engine.gateway.http.admission import Admission
from engine.gateway.http.listener import Listener
from engine.gateway.http.refusals import Refusals
from engine.gateway.internal_socket import InternalSocket
from engine.gateway.metrics import Metrics
from engine.gateway.remote_backends import Remotes
from engine.gateway.seconds import Seconds
from engine.metering.budgets import Budgets
from engine.metering.windows import Windows
from engine.prompting.renderer.pool import Renderer
from storage import store as stores
from storage.control_socket import nudges
from storage.home import clock
from storage.home.config import Config
from storage.home.paths import Home
from storage.requests import Request
from storage.runtime import heartbeat
from storage.runtime.reporting import Reports
from storage.texts import Text

PART: Final = "gateway"
DRAIN_S: Final = 15.0
_LAST_WORDS_S: Final = 2
"""For the error events of unfinished answers, before their connections are closed."""

_log = structlog.get_logger("gateway.server")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What runs while the gateway serves."""

    fleet: Fleet
    remotes: Remotes
    renderer: Renderer
    catalog: Catalog
    recorder: Recorder
    internal: InternalSocket
    copies: ShadowCopies
    listener: Listener
    seconds: Seconds
    budgets: Budgets


class Gateway:
    """One gateway from start to end."""

    def __init__(
        self, home: Home, config: Config, reports: Reports, *, drain_s: float = DRAIN_S
    ) -> None:
        """`drain_s` is how long answers under way may take once it has received SIGTERM."""
        self._home = home
        self._drain_s = drain_s
        self._config = config
        self._reports = reports

    async def run(self, listening: socket.socket) -> None:
        """Serve until SIGTERM or SIGINT, then drain."""
        with heartbeat.kept(lambda: self._reports.say(beat=clock.now_us())):
            await self._serve(listening)

    async def _serve(self, listening: socket.socket) -> None:
        config = self._config.gateway
        store = await stores.attach(self._home)
        windows = Windows()
        renderer = Renderer(on_quarantine=lambda t, why: killers.note(t, why, clock.now_us()))
        starts = ExpectedStarts(clock.monotonic_us)
        fleet = Fleet(self._home, windows, renderer, starts, now_us=clock.monotonic_us)
        entries, recovered = journal.open(self._home.journal, store.id)
        recorder = Recorder(store, entries, recovered)
        backends: dict[str, Backend] = {"local": LocalBackend(fleet, now_us=clock.monotonic_us)}
        remotes = Remotes(self._home, backends, starts)
        bounds = limits.of_process(config.connections, config.connections_per_address)
        admission = Admission(bounds, config.proxies)
        refusals = Refusals(windows.gateway.refused)
        rejections = Refusals(windows.gateway.rejected, event="rejected")

        def follow(snapshot: Snapshot) -> None:
            renderer.follow(quarantine.stored(snapshot))
            fleet.follow(snapshot)
            remotes.follow(snapshot)

        catalog = Catalog(store, renderer, on_change=follow)
        killers = quarantine.Quarantine(store, lambda: catalog.snapshot)
        metrics = Metrics(
            fleet,
            remotes,
            recorder,
            admission,
            refusals,
            rejections,
            ready=lambda: health.answers(health.arms(catalog.snapshot, executor, clock.now_us)),
        )

        budgets = Budgets(store, recorder, self._config.price, now_us=clock.now_us)

        def record(request: Request, text: Text | None) -> None:
            recorder.record(request, text)
            windows.ended(request)
            metrics.ended(request)

        executor = Executor(
            backends,
            record=record,
            begun=recorder.begun,
            gaps=lambda service, release: windows.arm(service, release).gaps,
            now_us=clock.monotonic_us,
        )
        copies = ShadowCopies(
            store,
            catalog,
            executor,
            pressed=lambda: fleet.waiting + remotes.waiting > 0,
            now_us=clock.now_us,
            new_id=lambda: secrets.token_hex(12),
        )
        metrics.show(copies, budgets)
        context = Context(
            store=store,
            catalog=catalog,
            executor=executor,
            copies=copies,
            windows=windows,
            recorder=recorder,
            metrics=metrics,
            budgets=budgets,
            bodies=Bodies(config.body_limit_bytes, config.bodies_limit_bytes, refusals),
            rejections=rejections,
            gateway_id=secrets.token_hex(8),
            open_metrics=config.open_metrics,
            allowed_origins=config.allowed_origins,
            now_us=clock.now_us,
            monotonic_us=clock.monotonic_us,
            new_id=lambda: secrets.token_hex(12),
            new_seed=lambda: secrets.randbits(63),
        )
        listener = Listener(
            routes.build(context),
            bounds,
            admission,
            refusals,
            urgent=lambda head: auth.urgent(head, catalog),
        )
        previews = Previews(store, executor, lambda: catalog.snapshot)
        internal = InternalSocket(
            self._home,
            executor,
            previews,
            gateway_id=context.gateway_id,
            now_us=clock.now_us,
            monotonic_us=clock.monotonic_us,
        )
        seconds = Seconds(
            context, fleet, remotes, admission, refusals, killers,
            Absences(store, starts, lambda: [*fleet.absent, *remotes.absent], clock.now_us),
        )  # fmt: skip
        parts = _Parts(
            fleet,
            remotes,
            renderer,
            catalog,
            recorder,
            internal,
            copies,
            listener,
            seconds,
            budgets,
        )
        try:
            await self._work(parts, listening, bounds)
        finally:
            await copies.close()
            await fleet.close()
            await remotes.close()
            await internal.close()
            await executor.drain()
            await renderer.close()
            await previews.close()
            seconds.close()
            await recorder.flush()
            entries.close()
            await store.close()

    async def _work(self, parts: _Parts, listening: socket.socket, bounds: limits.Limits) -> None:
        """Serve until a signal, then wait for the requests under way, for a while."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave, stopping)
        nudged = nudges.listen(self._home, PART)
        await parts.catalog.refresh()
        await parts.recorder.flush()  # what an earlier gateway left
        await parts.budgets.refresh()
        await parts.internal.start()
        await parts.listener.start(listening)
        self._say_ready(listening, bounds)
        parts.renderer.warm()
        tasks = [
            asyncio.create_task(_follow_nudges(nudged, parts.catalog), name="nudges"),
            asyncio.create_task(parts.seconds.run(), name="seconds"),
        ]
        try:
            await stopping.wait()
            await parts.copies.close()
            tasks.append(asyncio.create_task(self._cut_off(parts), name="cut off"))
            within_s = self._drain_s + _LAST_WORDS_S
            await asyncio.gather(parts.listener.drain(within_s), parts.internal.drain(within_s))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            nudged.close()

    def _leave(self, stopping: asyncio.Event) -> None:
        """Drain; without a node there is no time for that, only for error events."""
        if succession.orphaned():
            _log.error("the node is gone; ending all answers")
            succession.last_words()
            self._drain_s = 0
        stopping.set()

    def _say_ready(self, listening: socket.socket, bounds: limits.Limits) -> None:
        port = listening.getsockname()[1]
        self._reports.say(ready=True, port=port)
        _log.info(
            "listening",
            host=self._config.gateway.host,
            port=port,
            connections_limit=bounds.connections,
            per_address=bounds.per_address,
        )

    async def _cut_off(self, parts: _Parts) -> None:
        """After the drain timeout, end the remaining requests with an error."""
        await asyncio.sleep(self._drain_s)
        await parts.fleet.close()
        await parts.remotes.close()


async def _follow_nudges(nudged: nudges.Listener, catalog: Catalog) -> None:
    """Refresh the catalog as soon as another process has changed it."""
    while True:
        if await nudged.wait():
            await catalog.look()
