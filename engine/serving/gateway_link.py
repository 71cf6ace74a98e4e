"""A worker's talk with its gateway: what arrives, one frame a step, and heartbeats to the node.

Keeps what waits for the next frame, and tells computing time from waiting. A gateway that leaves a
full outbox unread is disconnected. Never computes, and does not know what is computed. Imported by
the loops of the workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from engine.serving import wire
from engine.serving.server_socket import HIGH_WATER, ServerSocket
from storage.runtime.reporting import Reports

HEARTBEAT_US: Final = 900_000
STALL_LIMIT_US: Final = 10_000_000
"""How long a gateway may leave a full outbox unread before it is disconnected."""


class Load(NamedTuple):
    """What a worker has: requests, the wait of the oldest in the queue, tokens of KV memory."""

    running: int
    waiting: int
    oldest_waiting_us: int
    kv_used_tokens: int
    kv_total_tokens: int


class GatewayLink:
    """`news`, `finished` and `refused` wait for the next frame; `number` counts steps.

    `computed_us` is when the last step ended.
    """

    def __init__(
        self,
        socket: ServerSocket,
        reports: Reports,
        now_us: Callable[[], int],
        *,
        hello: Callable[[], wire.Hello],
        take: Callable[[wire.ToWorker], None],
        taken: Callable[[], None],
        forget: Callable[[], None],
        load: Callable[[int], Load],
    ) -> None:
        """`hello` greets a gateway; `take` does what one asks, then `taken` follows each wait.

        `forget` cancels everything when the gateway has disconnected; `load` is asked at a time.
        """
        self._socket = socket
        self._reports = reports
        self._now_us = now_us
        self._hello, self._take, self._taken = hello, take, taken
        self._forget, self._load = forget, load
        self.news: list[wire.FromWorker] = []
        self.finished: list[wire.Finished] = []
        self.refused: list[wire.Refused] = []
        self.number = 0
        self._waited_us = 0
        self._mark_us = self._heartbeat_us = self.computed_us = now_us()
        self._announced = False

    def receive(self, *, idle: bool) -> None:
        """Take what arrived; wait when there is nothing to compute or the outbox is full."""
        self._wait(max(self._heartbeat_us + HEARTBEAT_US - self._now_us(), 0) / 1e6 if idle else 0)
        stalled_us = 0
        while self._socket.pending >= HIGH_WATER:
            stalled_us += self._wait(0.1)
            if stalled_us > STALL_LIMIT_US:
                self._socket.drop()
            self.heartbeat()

    def announce_draining(self) -> None:
        """Tell each gateway once that the worker takes nothing new."""
        if not self._announced:
            self._announced = True
            self.news.append(wire.Draining())

    def finish(self) -> None:
        """Send what is left and wait until the gateway has read it, within the stall limit."""
        self.send()
        stalled_us = 0
        while self._socket.pending and stalled_us <= STALL_LIMIT_US:
            stalled_us += self._wait(0.1)
            self.heartbeat()

    def drop(self) -> None:
        """Disconnect a gateway that has lost count of its requests."""
        self._socket.drop()

    def heartbeat(self) -> None:
        """Tell the node that the loop goes round, and the gateway if there is nothing to do."""
        now = self._now_us()
        if now - self._heartbeat_us < HEARTBEAT_US:
            return
        self._heartbeat_us = now
        load = self._load(now)
        self._reports.say(
            beat=time.time_ns() // 1000,
            step=self.number,
            running=load.running,
            waiting=load.waiting,
            since_token_us=now - self.computed_us,
        )
        if not (load.running or load.waiting):
            self.send()  # idle time is reported every second, not when it is over

    def busy_us(self, now_us: int) -> int:
        """The time since the last frame without what was waited for the gateway."""
        return now_us - self._mark_us - self._waited_us

    def send_news(self) -> None:
        """Send a frame if there is anything to say."""
        if self.finished or self.refused or self.news:
            self.send()

    def send(
        self,
        *,
        stepped: bool = False,
        adapter: str = "",
        prefill: int = 0,
        decode: int = 0,
        deltas: tuple[wire.Delta, ...] = (),
        now_us: int | None = None,
    ) -> None:
        """Send one frame: the step, or an empty one, with everything since the previous frame."""
        now = self._now_us() if now_us is None else now_us
        wall = now - self._mark_us
        idle = self._waited_us if stepped else wall
        load = self._load(now)
        step = wire.Step(
            number=self.number,
            adapter=adapter,
            wall_us=wall,
            busy_us=wall - idle,
            idle_us=idle,
            prefill_tokens=prefill,
            decode_tokens=decode,
            running=load.running,
            waiting=load.waiting,
            oldest_waiting_us=load.oldest_waiting_us,
            kv_used_tokens=load.kv_used_tokens,
            kv_total_tokens=load.kv_total_tokens,
            deltas=deltas,
            finished=tuple(self.finished),
            refused=tuple(self.refused),
        )
        self._mark_us = now
        self._waited_us = 0
        self._socket.send(wire.Outbox((*self.news, step)))
        self._clear()

    def _clear(self) -> None:
        self.news.clear()
        self.finished.clear()
        self.refused.clear()

    def _wait(self, timeout_s: float) -> int:
        """Wait for the gateway and do what it asks; return how long the wait took."""
        waited = 0
        if timeout_s:
            began = self._now_us()
            inboxes = self._socket.wait(timeout_s)
            waited = self._now_us() - began
            self._waited_us += waited
        else:
            inboxes = self._socket.wait(0)
        if self._socket.lost:
            self._socket.lost = False
            self._forget()
            self._clear()
        if self._socket.accepted:
            self._socket.accepted = False
            self.news.append(self._hello())
            self._announced = False
        for inbox in inboxes:
            for item in inbox.items:
                self._take(item)
        self._taken()
        return waited
