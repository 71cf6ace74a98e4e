"""The running gateway: wiring, the listening socket, the per-second tick, draining.

Imported by `python -m engine.gateway`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import secrets
import signal
import socket
from collections.abc import Iterator
from typing import Any, Final

import structlog
import uvicorn

from engine.backends.fleet import Fleet
from engine.backends.local import LocalBackend
from engine.backends.protocol import Backend
from engine.execution import journal
from engine.execution.catalog import Catalog, Snapshot
from engine.execution.execute import Executor
from engine.execution.recorder import Recorder
from engine.gateway import health, routes
from engine.gateway.context import Context
from engine.gateway.http_protocol import Connection
from engine.gateway.internal_socket import InternalSocket
from engine.gateway.metrics import Metrics
from engine.gateway.remote_backends import Remotes
from engine.metering.windows import Windows
from engine.process import heartbeat
from engine.process.reporting import Reports
from engine.prompting.renderer.pool import Renderer
from storage import store as stores
from storage.control_socket import nudges
from storage.home import clock
from storage.home.config import Config
from storage.home.paths import Home
from storage.requests import Request
from storage.texts import Text

PART: Final = "gateway"
DRAIN_S: Final = 15.0
_LAST_WORDS_S: Final = 2
"""For the error events of unfinished answers, before their connections are closed."""
_KEEP_ALIVE_S: Final = 75
_SECOND_US: Final = 1_000_000
_AFTER_US: Final = 20_000
"""How long after its end a second is closed, so that its last events are counted."""

_log = structlog.get_logger("gateway.server")


class CannotListen(Exception):
    """The configured address cannot be used; the message says what to change."""


def listen(host: str, port: int) -> socket.socket:
    """The listening socket.

    Raises:
        CannotListen: the host is unknown or not of this machine, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = _bound(family, address)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise CannotListen(
            f"host {host!r} under [gateway] in config.toml cannot be resolved: {reason}; "
            "set an address of this machine, such as 127.0.0.1"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise CannotListen(
                f"host {host!r} under [gateway] in config.toml is not an address of this machine; "
                "set one that is, such as 127.0.0.1"
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise CannotListen(
                f"port {port} on {host} needs privileges that this user lacks; "
                "set a port from 1024 up under [gateway] in config.toml"
            ) from error
        raise CannotListen(
            f"port {port} on {host} cannot be used: {error.strerror or error}; stop what listens "
            "there, or set another port under [gateway] in config.toml"
        ) from error
    listening.setblocking(False)
    return listening


def _bound(family: int, address: Any) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    return listening


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers, ticking once a second instead of ten times."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leave = asyncio.Event()
        self.started_event = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        self.started_event.set()
        while not self.should_exit:
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leave.wait(), 1)
            self.should_exit = self.leave.is_set()


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
        store = await stores.attach(self._home)
        windows = Windows()
        renderer = Renderer()
        fleet = Fleet(self._home, windows, renderer, now_us=clock.monotonic_us)
        entries, recovered = journal.open(self._home.journal, store.id)
        recorder = Recorder(store, entries, recovered)
        backends: dict[str, Backend] = {"local": LocalBackend(fleet, now_us=clock.monotonic_us)}
        remotes = Remotes(self._home, backends)

        def follow(snapshot: Snapshot) -> None:
            fleet.follow(snapshot)
            remotes.follow(snapshot)

        catalog = Catalog(store, renderer, on_change=follow)
        metrics = Metrics(
            fleet,
            remotes,
            recorder,
            ready=lambda: health.answers(health.arms(catalog.snapshot, executor, clock.now_us)),
        )

        def record(request: Request, text: Text | None) -> None:
            recorder.record(request, text)
            if request.release is not None:
                windows.arm(request.service, request.release).ended(request)
            metrics.ended(request)

        executor = Executor(
            backends,
            record=record,
            begun=recorder.begun,
            gaps=lambda service, release: windows.arm(service, release).gaps,
            now_us=clock.monotonic_us,
        )
        gateway_id = secrets.token_hex(8)
        context = Context(
            store=store,
            catalog=catalog,
            executor=executor,
            windows=windows,
            recorder=recorder,
            metrics=metrics,
            gateway_id=gateway_id,
            body_limit=self._config.gateway.body_limit_bytes,
            open_metrics=self._config.gateway.open_metrics,
            now_us=clock.now_us,
            monotonic_us=clock.monotonic_us,
            new_id=lambda: secrets.token_hex(12),
            new_seed=lambda: secrets.randbits(63),
        )
        server = _Server(
            uvicorn.Config(
                routes.build(context),
                http=Connection,
                ws="none",
                loop="none",
                lifespan="off",
                log_config=None,
                log_level="critical",  # malformed requests are not logged; our errors are, by us
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(self._drain_s) + _LAST_WORDS_S,
            )
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.leave.set)
        listener = nudges.listen(self._home, PART)
        await catalog.refresh()
        await recorder.flush()  # what an earlier gateway left
        internal = InternalSocket(
            self._home,
            executor,
            gateway_id=gateway_id,
            now_us=clock.now_us,
            monotonic_us=clock.monotonic_us,
        )
        await internal.start()
        draining = asyncio.create_task(self._drain(server, internal), name="drain")
        tasks = [
            draining,
            asyncio.create_task(self._report(server, listening, renderer), name="ready"),
            asyncio.create_task(self._follow_nudges(listener, catalog), name="nudges"),
            asyncio.create_task(self._seconds(server, context, fleet, remotes), name="seconds"),
            asyncio.create_task(self._cut_off(server, fleet, remotes), name="cut off"),
        ]
        try:
            await server.serve(sockets=[listening])
            server.leave.set()
            await draining
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await fleet.close()
            await remotes.close()
            await internal.close()
            await executor.drain()
            await renderer.close()
            self._close_second(server, context, fleet, remotes)
            await recorder.flush()
            entries.close()
            listener.close()
            await store.close()

    async def _report(self, server: _Server, listening: socket.socket, renderer: Renderer) -> None:
        port = listening.getsockname()[1]
        await server.started_event.wait()
        self._reports.say(ready=True, port=port)
        renderer.warm()
        _log.info("listening", host=self._config.gateway.host, port=port)

    async def _drain(self, server: _Server, internal: InternalSocket) -> None:
        """When the gateway stops, requests on its internal socket get the same time as others."""
        await server.leave.wait()
        await internal.drain(self._drain_s + _LAST_WORDS_S)

    async def _cut_off(self, server: _Server, fleet: Fleet, remotes: Remotes) -> None:
        """After the drain timeout, end the remaining requests with an error."""
        await server.leave.wait()
        await asyncio.sleep(self._drain_s)
        await fleet.close()
        await remotes.close()

    async def _follow_nudges(self, listener: nudges.Listener, catalog: Catalog) -> None:
        """Refresh the catalog as soon as another process has changed it."""
        while True:
            if await listener.wait():
                await catalog.look()

    async def _seconds(
        self, server: _Server, context: Context, fleet: Fleet, remotes: Remotes
    ) -> None:
        """The per-second tick; rows are written concurrently."""
        while True:
            into = context.now_us() % _SECOND_US
            await asyncio.sleep((_SECOND_US - into + _AFTER_US) / 1e6)
            try:
                self._close_second(server, context, fleet, remotes)
                context.recorder.begin()
                await context.catalog.look()
                fleet.sweep()
                remotes.tick()
                await remotes.record(context.store, context.now_us())
            except Exception:  # noqa: BLE001 the next tick may succeed
                _log.exception("the per-second tick failed")

    def _close_second(
        self, server: _Server, context: Context, fleet: Fleet, remotes: Remotes
    ) -> None:
        second = context.now_us() // _SECOND_US - 1
        for row in context.windows.close(second, context.catalog.snapshot.live()):
            context.recorder.sample(row)
        connections = len(server.server_state.connections)
        held = fleet.held + remotes.held
        for row in context.windows.gateway.close(second, held, connections):
            context.recorder.sample(row)
        for _, instance in fleet.instances():
            window, client = context.windows.instance(instance.name), instance.client
            for row in window.close(second, client.hello, client.knobs):
                context.recorder.sample(row)
        for row in remotes.rows(second):
            context.recorder.sample(row)
