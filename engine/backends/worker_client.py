"""The gateway's end of a worker's socket: one connection, made again whenever it ends.

Whoever wants a sequence hands in a Submit and a Receiver. What cannot be sent now, because the
worker or the lane is not there, waits. When a worker dies, what has shown nothing yet is sent again
to the one that comes back. All calls and callbacks happen on the event loop. Knows nothing of HTTP,
services or releases. Imported by the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from engine.backends import pending
from engine.backends.adapter_loading import Openings
from engine.backends.client_socket import dial
from engine.backends.pending import Order, Receiver
from engine.serving import wire
from storage.home import clock

_BACKOFF_S: Final = (0.02, 1.0, 1.6)
"""First wait, longest wait, growth."""


class Client:
    """One worker, as the gateway sees it.

    `hello` is the worker's first word while it is connected, else None; `step` is its latest.
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
        self._orders = pending.Orders(now_us)
        self._outgoing: list[wire.ToWorker] = []
        self._openings = Openings(self._queue)
        self._knobs: dict[str, int] = {}
        self._transport: asyncio.Transport | None = None
        self._poked = asyncio.Event()
        self._closed = asyncio.Event()
        self._moved_us = now_us()
        self._leaving = False
        self.hello: wire.Hello | None = None
        self.step: wire.Step | None = None
        self.knobs: dict[str, int] = {}

    # what the gateway wants

    @property
    def open(self) -> set[str]:
        """The lanes that produce tokens."""
        return self._openings.open

    @property
    def failed(self) -> dict[str, str]:
        """The lanes that cannot, with the reason."""
        return self._openings.failed

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return self._orders.count > 0

    @property
    def silent_us(self) -> int:
        """How long no step was computed while work was there; 0 when there is none."""
        return self._now_us() - self._moved_us if self.busy else 0

    def serves(self, lane: str) -> bool:
        """Whether a sequence for this lane would be computed now."""
        return self.hello is not None and not self._leaving and lane in self.open

    def submit(self, submit: wire.Submit, receiver: Receiver) -> int:
        """Have a sequence produced; the id that `submit` bears is replaced by the one returned."""
        if not self.busy:
            self._moved_us = self._now_us()
        order = self._orders.add(submit, receiver)
        if self.serves(submit.lane) and wire.fits(order.submit):
            self._queue(self._orders.sending(order))
        else:
            self._orders.hold(order, self.failed)
        return order.submit.id

    def cancel(self, id: int) -> None:
        """Nobody wants a sequence any more; its last word is `finished`, which counts its cost."""
        order = self._orders.get(id)
        if order is None or order.cancelled:
            return
        order.cancelled = True
        if order.sent:
            self._queue(wire.Cancel(id))
        else:
            self._orders.forget(order)

    def want_lanes(self, lanes: Mapping[str, wire.OpenLane]) -> None:
        """All adapters that are to be open, by lane."""
        self._openings.want(lanes)

    def want_knobs(self, values: Mapping[str, int]) -> None:
        """The knobs that are to be in force."""
        self._knobs = dict(values)
        if self.hello is not None and any(self.knobs.get(n) != v for n, v in values.items()):
            self._queue(wire.SetKnobs(self._knobs))

    def poke(self) -> None:
        """The worker may be there now: do not wait any longer before the next attempt."""
        self._poked.set()

    async def run(self) -> None:
        """Keep the connection until `close`."""
        first, longest, growth = _BACKOFF_S
        wait = first
        while not self._closed.is_set():
            self._poked.clear()
            try:
                ended = await dial(self._socket, self)
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

    def close(self, why: str = "this worker is needed no more") -> None:
        """Give up everything; the worker cancels what it was doing."""
        self._closed.set()
        for order in self._orders.every():
            self._orders.refuse(order, "worker_gone", why)
        if self._transport is not None:
            self._transport.close()
        self._poked.set()

    def _queue(self, item: wire.ToWorker) -> None:
        """All that is wanted in one turn of the loop leaves in one frame, if that holds it."""
        if self._transport is None:
            return
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(item)

    def _flush(self) -> None:
        items, self._outgoing = tuple(self._outgoing), []
        if self._transport is not None and items:
            self._transport.writelines(wire.frames(items))

    def _release(self, lane: str) -> None:
        """A lane is open: send what waited for it."""
        for order in self._orders.held(lane):
            self._queue(self._orders.sending(order))

    # what the line says

    def connected(self, transport: asyncio.Transport) -> None:
        """A connection stands; the worker speaks first."""
        self._transport = transport

    def take(self, outbox: wire.Outbox) -> None:
        """What the worker said."""
        for item in outbox.items:
            match item:
                case wire.Step():
                    self._stepped(item)
                case wire.Hello():
                    self._greeted(item)
                case wire.LaneOpened():
                    self._openings.opened(item.lane)
                    self._release(item.lane)
                case wire.LaneFailed():
                    self._lane_failed(item)
                case wire.KnobsSet():
                    self.knobs = item.values

    def disconnected(self) -> None:
        """The connection has ended: hold what may be tried again, give up the rest."""
        self._transport = None
        self._outgoing.clear()
        self.hello = None
        self._openings.disconnected()
        for order in self._orders.every():
            if order.sent:
                self._orders.again(order, self.failed)

    def _greeted(self, hello: wire.Hello) -> None:
        self.hello = hello
        self.knobs = hello.knobs
        self._leaving = False
        self._moved_us = self._now_us()
        self._on_hello(hello)
        self.want_knobs(self._knobs)
        self._openings.connected(hello.lanes)
        for lane in self.open:
            self._release(lane)

    def _stepped(self, step: wire.Step) -> None:
        if self.step is None or step.number != self.step.number:
            self._moved_us = self._now_us()
        self.step = step
        get, pop = self._orders.get, self._orders.pop
        for delta in step.deltas:
            order = get(delta.id)
            if order is not None and not order.cancelled:
                order.begun = True
                order.receiver.delta(delta)
        for finished in step.finished:
            order = pop(finished.id)
            if order is not None:
                order.receiver.finished(finished)
        for refused in step.refused:
            order = get(refused.id)
            if order is not None:
                self._refused(order, refused)
        self._on_step(step)

    def _refused(self, order: Order, refused: wire.Refused) -> None:
        leaving = refused.code == "engine" and refused.retry_after_us > 0
        if order.cancelled:
            self._orders.forget(order)
            return
        if leaving and not order.begun:  # its successor takes it
            self._leaving = True
        elif refused.code == "no_lane" and self._openings.wants(order.submit.lane):
            self.open.discard(order.submit.lane)  # the worker has said why, or says it next
        else:
            self._orders.pop(refused.id)
            order.receiver.refused(refused)
            return
        self._orders.hold(order, self.failed)

    def _lane_failed(self, item: wire.LaneFailed) -> None:
        self._openings.fell(item.lane, item.reason)
        for order in self._orders.held(item.lane):
            self._orders.hold(order, self.failed)
