"""The gateway's end of a worker's socket: one connection, made again whenever it ends.

Callers hand in a Submit and a Receiver. What cannot be sent now, because the worker is not
connected or its adapter not loaded, is held. When a worker dies, requests without a token are sent
again to its successor. All calls and callbacks happen on the event loop. Knows nothing of HTTP,
services or releases. Imported by the backends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from engine.backends import client_socket
from engine.backends.adapter_loading import AdapterLoading
from engine.backends.pending import PendingRequest, PendingRequests, Receiver
from engine.serving import wire
from storage.home import clock

_BACKOFF_S: Final = (0.02, 1.0, 1.6)
"""First wait, longest wait, growth."""


class Refusal(Exception):
    """A scoring was refused; `refused` says why."""

    def __init__(self, refused: wire.Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class _ScoreReceiver:
    """Resolves a future with a Scored, or with a Refusal."""

    def __init__(self) -> None:
        self.result: asyncio.Future[wire.Scored] = asyncio.get_running_loop().create_future()

    def scored(self, scored: wire.Scored) -> None:
        if not self.result.done():
            self.result.set_result(scored)

    def refused(self, refused: wire.Refused) -> None:
        if not self.result.done():
            self.result.set_exception(Refusal(refused))

    def finished(self, _: wire.Finished) -> None:
        self.result.cancel()

    def delta(self, _: wire.Delta) -> None:
        """A scoring has none."""

    def lost(self) -> bool:
        return True


class WorkerClient:
    """One worker, as the gateway sees it.

    `hello` is set while connected, `step` is the latest. `knobs` are those in force.
    """

    def __init__(
        self,
        socket: Path,
        *,
        now_us: Callable[[], int] = clock.monotonic_us,
        on_step: Callable[[wire.Step], None] = lambda _: None,
        on_hello: Callable[[wire.Hello], None] = lambda _: None,
    ) -> None:
        """`run` connects."""
        self._socket = socket
        self._now_us = now_us
        self._on_step = on_step
        self._on_hello = on_hello
        self._pending = PendingRequests(now_us)
        self._outgoing: list[wire.ToWorker] = []
        self._adapters = AdapterLoading(self._queue, self._pending.uses)
        self._wanted_knobs: dict[str, int] = {}
        self._transport: asyncio.Transport | None = None
        self._poked = asyncio.Event()
        self._closed = asyncio.Event()
        self._progress_us = now_us()
        self._draining = False
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
        """Whether any request has not ended."""
        return self._pending.count > 0

    @property
    def requests(self) -> int:
        """How many requests have not ended."""
        return self._pending.count

    @property
    def silent_us(self) -> int:
        """How long no step was computed although requests are pending; 0 when none are."""
        return self._now_us() - self._progress_us if self.busy else 0

    def serves(self, adapter: str) -> bool:
        """Whether a sequence for this adapter would be computed now."""
        return self.hello is not None and not self._draining and adapter in self.loaded

    def submit(self, submit: wire.Submit, receiver: Receiver) -> int:
        """Generate a sequence; the id in `submit` is replaced by the one returned."""
        return self._add(submit, receiver)

    async def score(self, score: wire.Score) -> wire.Scored:
        """Score a continuation; its id is assigned. Cancelling the task cancels the scoring.

        Raises:
            Refusal: the worker, or the client for want of one, refused it.
        """
        receiver = _ScoreReceiver()
        id = self._add(score, receiver)
        try:
            return await receiver.result
        except asyncio.CancelledError:
            self.cancel(id)
            raise

    def _add(self, item: wire.Submit | wire.Score, receiver: Receiver) -> int:
        if not self.busy:
            self._progress_us = self._now_us()
        request = self._pending.add(item, receiver)
        if self.serves(item.adapter) and wire.fits(request.item):
            self._queue(self._pending.send(request))
        else:
            self._pending.hold(request, self.failed)
        return request.item.id

    def cancel(self, id: int) -> None:
        """Stop a sequence; its receiver gets `finished` with the final count."""
        request = self._pending.get(id)
        if request is None or request.cancelled:
            return
        request.cancelled = True
        if request.sent:
            self._queue(wire.Cancel(id))
        else:
            self._pending.forget(request)

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
        """Refuse everything pending and disconnect; the worker cancels what it had."""
        self._closed.set()
        for request in self._pending.all():
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
            self._transport.writelines(wire.frames(items))

    def _send_held(self, adapter: str) -> None:
        for request in self._pending.held(adapter):
            self._queue(self._pending.send(request))

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
                    self._send_held(item.adapter)
                case wire.AdapterFailed():
                    self._adapter_failed(item)
                case wire.Scored():
                    self._scored(item)
                case wire.KnobsSet():
                    self.knobs = item.values
                case wire.Draining():
                    self._draining = True

    def disconnected(self) -> None:
        """The connection has ended: hold what may be sent again, give up the rest."""
        self._transport = None
        self._outgoing.clear()
        self.hello = None
        self._adapters.on_disconnected()
        for request in self._pending.all():
            if request.sent:
                self._pending.lost(request, self.failed, died=not self._draining)

    def _greeted(self, hello: wire.Hello) -> None:
        self.hello = hello
        self.knobs = hello.knobs
        self._draining = False
        self._progress_us = self._now_us()
        self._on_hello(hello)
        self.want_knobs(self._wanted_knobs)
        self._adapters.on_connected(hello.adapters)
        for adapter in self.loaded:
            self._send_held(adapter)

    def _stepped(self, step: wire.Step) -> None:
        if self.step is None or step.number != self.step.number:
            self._progress_us = self._now_us()
        self.step = step
        get, pop = self._pending.get, self._pending.pop
        for delta in step.deltas:
            request = get(delta.id)
            if request is not None and not request.cancelled:
                request.begun = True
                request.receiver.delta(delta)
        for finished in step.finished:
            request = pop(finished.id)
            if request is not None:
                request.receiver.finished(finished)
        for refused in step.refused:
            request = get(refused.id)
            if request is not None:
                self._refused(request, refused)
        if step.finished or step.refused:
            self._adapters.unload_unused()
        self._on_step(step)

    def _scored(self, scored: wire.Scored) -> None:
        request = self._pending.pop(scored.id)
        if request is not None and isinstance(request.receiver, _ScoreReceiver):
            request.receiver.scored(scored)
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
            self._pending.pop(refused.id)
            request.receiver.refused(refused)
            return
        self._pending.hold(request, self.failed)

    def _adapter_failed(self, item: wire.AdapterFailed) -> None:
        self._adapters.on_failed(item.adapter, item.reason)
        for request in self._pending.held(item.adapter):
            self._pending.hold(request, self.failed)
