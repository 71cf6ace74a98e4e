"""The gateway's end of a worker's socket: one connection, made again whenever it ends.

Sends the requests of a pool that the worker would compute now, and hands what it answers to their
receivers. What a dead worker had is held again if it has no token, and else given up. All calls and
callbacks happen on the event loop. Knows nothing of HTTP, services or releases. Imported by the
backends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar, runtime_checkable

import msgspec
import structlog

from engine.backends import client_socket
from engine.backends.adapter_loading import AdapterLoading
from engine.backends.pending import PendingRequest, PendingRequests
from engine.process import silence
from engine.serving import framing, wire
from storage.home import clock

_BACKOFF_S: Final = (0.02, 1.0, 1.6)
"""First wait, longest wait, growth."""

_log = structlog.get_logger("gateway.worker_client")


Result = TypeVar("Result", wire.Scored, wire.Tokenised, wire.Embedded)


class Refusal(Exception):
    """A request for one result was refused; `refused` says why."""

    def __init__(self, refused: wire.Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


@runtime_checkable
class Taker(Protocol):
    """A receiver of requests that have one result."""

    def takes(self, result: wire.Result) -> bool:
        """Take a result that has arrived, if it is of the kind that was asked for."""


class ResultReceiver(Generic[Result]):
    """Receives the one result of a request, of the given kind, or a refusal."""

    def __init__(self, kind: type[Result]) -> None:
        self._kind: type[Result] = kind
        self._result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    async def result(self, cancel: Callable[[], None]) -> Result:
        """The result; `cancel` is called when the waiting task is cancelled.

        Raises:
            Refusal: no worker could give it, or not in time.
        """
        try:
            return await self._result
        except asyncio.CancelledError:
            cancel()
            raise

    def takes(self, result: wire.Result) -> bool:
        """Take a result that has arrived, if it is of this kind."""
        if not isinstance(result, self._kind):
            return False
        if not self._result.done():
            self._result.set_result(result)
        return True

    def refused(self, refused: wire.Refused) -> None:
        """The request was refused."""
        if not self._result.done():
            self._result.set_exception(Refusal(refused))

    def finished(self, _: wire.Finished) -> None:
        """The request was cancelled."""
        self._result.cancel()

    def delta(self, _: wire.Delta, __: int) -> None:
        """There is none before the result."""

    def lost(self) -> bool:
        """The worker died: ask again."""
        return True


class WorkerClient:
    """One worker, as the gateway sees it.

    `hello` is set while connected, `step` is the latest. `knobs` are those in force. `load` counts
    the requests that the worker has.
    """

    def __init__(
        self,
        socket: Path,
        *,
        pending: PendingRequests,
        on_change: Callable[[], None],
        now_us: Callable[[], int] = clock.monotonic_us,
        on_step: Callable[[wire.Step], None] = lambda _: None,
        on_hello: Callable[[wire.Hello], None] = lambda _: None,
    ) -> None:
        """`run` connects.

        `pending` are the requests of its pool; `on_change` is called whenever some that are held
        may have become possible, here or at another worker.
        """
        self._socket = socket
        self._now_us = now_us
        self._on_step = on_step
        self._on_hello = on_hello
        self._pending = pending
        self._on_change = on_change
        self._outgoing: list[wire.ToWorker] = []
        self._adapters = AdapterLoading(self._queue, self._pending.uses)
        self._wanted_knobs: dict[str, int] = {}
        self._transport: asyncio.Transport | None = None
        self._poked = asyncio.Event()
        self._closed = asyncio.Event()
        self._progress_us = now_us()
        self._heard_us: int | None = None
        self._pace_us = 0
        self._draining = False
        self.load = 0
        self.hello: wire.Hello | None = None
        self.step: wire.Step | None = None
        self.knobs: dict[str, int] = {}

    # what the gateway asks for

    @property
    def loaded(self) -> set[str]:
        """The adapters that produce tokens; "" is the base."""
        return self._adapters.loaded

    @property
    def failed(self) -> dict[str, str]:
        """The adapters that could not be loaded, with the reason."""
        return self._adapters.failed

    @property
    def busy(self) -> bool:
        """Whether the worker has any request."""
        return self.load > 0

    @property
    def unread(self) -> int:
        """The requests that were sent to the worker and are not in its latest count."""
        counted = 0 if self.step is None else self.step.running + self.step.waiting
        return max(0, self.load - counted)

    @property
    def silent_us(self) -> int:
        """How long no step was computed although requests are pending; 0 when none are."""
        return self._now_us() - self._progress_us if self.busy else 0

    @property
    def late_us(self) -> int:
        """For how long the worker sent nothing, if that is unusual; else 0.

        It sends a frame a step, and one a second when it is idle.
        """
        if self.hello is None or self._heard_us is None:
            return 0
        quiet = self._now_us() - self._heard_us
        return quiet if quiet > silence.late_us(self._pace_us) else 0

    def serves(self, adapter: str) -> bool:
        """Whether a sequence for this adapter would be computed now."""
        return self.hello is not None and not self._draining and adapter in self.loaded

    def send(self, request: PendingRequest) -> bool:
        """Send a request if it would be computed now; return whether it was sent."""
        if not self.serves(request.item.adapter) or not framing.fits(request.item):
            return False
        if not self.load:
            self._progress_us = self._now_us()
        self._queue(self._pending.send(request, self))
        return True

    def cancel_sent(self, id: int) -> None:
        """Send the cancellation of a sequence to the worker."""
        self._queue(wire.Cancel(id))

    def want_adapters(self, adapters: Mapping[str, wire.LoadAdapter]) -> None:
        """Set all adapters that should be loaded, by name; others are unloaded when unused."""
        self._adapters.want(adapters)

    def want_adapter(self, adapter: wire.LoadAdapter) -> None:
        """Load one adapter more, at least until the next `want_adapters`."""
        self._adapters.want_also(adapter)

    def want_knobs(self, values: Mapping[str, int]) -> None:
        """Set the knobs that should be in force."""
        self._wanted_knobs = dict(values)
        if self.hello is not None and any(self.knobs.get(n) != v for n, v in values.items()):
            self._queue(wire.SetKnobs(self._wanted_knobs))

    def poke(self) -> None:
        """The worker may be listening now: try to connect without further delay."""
        self._poked.set()

    async def run(self) -> None:
        """Keep the connection until `close`."""
        first, longest, growth = _BACKOFF_S
        wait = first
        while not self._closed.is_set():
            self._poked.clear()
            try:
                ended = await client_socket.connect(self._socket, self)
            except OSError:
                pass
            else:
                await ended
                wait = first
            if self._closed.is_set():
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), wait)
            wait = min(longest, wait * growth)

    def close(self, why: str = "this worker is no longer needed") -> None:
        """Refuse what the worker has and disconnect; it cancels that."""
        self._closed.set()
        for request in self._pending.sent_to(self):
            self._pending.refuse(request, "worker_gone", why)
        if self._transport is not None:
            self._transport.close()
        self._poked.set()

    def _queue(self, item: wire.ToWorker) -> None:
        """Everything queued in one turn of the loop is sent in one frame, if it fits."""
        if self._transport is None:
            return
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(item)

    def _flush(self) -> None:
        items, self._outgoing = tuple(self._outgoing), []
        if self._transport is not None and items:
            self._transport.writelines(self._frames(items))

    def _frames(self, items: tuple[wire.ToWorker, ...]) -> list[bytes]:
        """The frames of what can be encoded; what cannot fails alone."""
        try:
            return list(framing.frames(items))
        except Exception as error:  # noqa: BLE001 whatever it is, it concerns one item
            if len(items) > 1:
                return [frame for item in items for frame in self._frames((item,))]
            _log.error("an item cannot be sent", item=type(items[0]).__name__, error=str(error))
            asyncio.get_running_loop().call_soon(self._unsendable, items[0], str(error))
            return []

    def _unsendable(self, item: wire.ToWorker, why: str) -> None:
        if isinstance(item, wire.Request):
            request = self._pending.get(item.id)
            if request is not None:
                self._pending.refuse(request, "unsendable", f"it cannot be encoded: {why}")
        elif isinstance(item, wire.LoadAdapter):
            self._adapter_failed(wire.AdapterFailed(item.adapter, f"unusable path: {why}"))

    # what the worker sends

    def connected(self, transport: asyncio.Transport) -> None:
        """Connected; the worker sends first."""
        self._transport = transport

    def received(self, outbox: wire.Outbox) -> None:
        """The worker sent a frame."""
        for item in outbox.items:
            match item:
                case wire.Step():
                    self._stepped(item)
                case wire.Hello():
                    self._greeted(item)
                case wire.AdapterLoaded():
                    self._adapters.on_loaded(item.adapter)
                    self._on_change()
                case wire.AdapterFailed():
                    self._adapter_failed(item)
                case wire.Scored() | wire.Tokenised() | wire.Embedded():
                    self._answered(item)
                case wire.KnobsSet():
                    self.knobs = item.values
                case wire.Draining():
                    self._draining = True

    def disconnected(self) -> None:
        """The connection has ended: hold what may be sent again, give up the rest."""
        self._transport = None
        self._outgoing.clear()
        self.hello = self.step = self._heard_us = None
        self._pace_us = 0
        self._adapters.on_disconnected()
        for request in self._pending.sent_to(self):
            self._pending.lost(request, died=not self._draining)
        self._on_change()

    def _greeted(self, hello: wire.Hello) -> None:
        self.hello = hello
        self.knobs = hello.knobs
        self._draining = False
        self._progress_us = self._now_us()
        self._on_hello(hello)
        self.want_knobs(self._wanted_knobs)
        self._adapters.on_connected(hello.adapters)
        self._on_change()

    def _stepped(self, step: wire.Step) -> None:
        now = self._now_us()
        interval = 0 if self._heard_us is None else now - self._heard_us
        self._pace_us = silence.pace_us(self._pace_us, interval)
        self._heard_us = now
        if self.step is None or step.number != self.step.number:
            self._progress_us = now
        self.step = step
        get = self._pending.get
        for delta in step.deltas:
            request = get(delta.id)
            if request is not None and request.worker is self and not request.cancelled:
                request.begun = True
                try:
                    request.receiver.delta(delta, now)
                except Exception:  # noqa: BLE001 the frame has deltas of other requests, too
                    self._give_up(request)
        for finished in step.finished:
            request = get(finished.id)
            if request is not None and request.worker is self:
                self._finished(request, finished)
        for refused in step.refused:
            request = get(refused.id)
            if request is not None and request.worker is self:
                self._refused(request, refused)
        if step.finished or step.refused:
            self._adapters.unload_unused()
        self._on_step(step)

    def _finished(self, request: PendingRequest, finished: wire.Finished) -> None:
        waited_us = request.sent_us - request.added_us + finished.queue_us
        try:
            request.receiver.finished(msgspec.structs.replace(finished, queue_us=waited_us))
            self._pending.pop(finished.id)
        except Exception:  # noqa: BLE001 as above
            self._give_up(request)

    def _give_up(self, request: PendingRequest) -> None:
        """Fail a request whose answer its receiver could not take."""
        _log.exception("an answer could not be read", id=request.item.id)
        self._queue(wire.Cancel(request.item.id))
        self._pending.refuse(request, "unreadable", "its answer could not be read; see the log")

    def _answered(self, result: wire.Result) -> None:
        request = self._pending.get(result.id)
        if request is not None and request.worker is self and isinstance(request.receiver, Taker):
            if isinstance(result, wire.Scored | wire.Embedded):
                waited_us = request.sent_us - request.added_us + result.queue_us
                result = msgspec.structs.replace(result, queue_us=waited_us)
            try:
                taken = request.receiver.takes(result)
            except Exception:  # noqa: BLE001 as above
                self._give_up(request)
                return
            if taken:
                self._pending.pop(result.id)
                self._adapters.unload_unused()

    def _refused(self, request: PendingRequest, refused: wire.Refused) -> None:
        if request.cancelled:
            self._pending.forget(request)
            return
        if refused.code == "draining" and not request.begun:
            self._draining = True  # its successor takes the request
        elif refused.code == "no_adapter" and self._adapters.wants(request.item.adapter):
            self.loaded.discard(request.item.adapter)  # AdapterFailed says why, or comes next
        else:
            request.receiver.refused(refused)
            self._pending.pop(refused.id)
            return
        self._pending.hold(request)
        self._on_change()

    def _adapter_failed(self, item: wire.AdapterFailed) -> None:
        self._adapters.on_failed(item.adapter, item.reason)
        for request in self._pending.held():
            if request.item.adapter == item.adapter:
                self._pending.hold(request)
        self._on_change()
