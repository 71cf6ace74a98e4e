"""What was ordered of one worker: sent, or waiting for the worker or a lane.

Waiting is bounded in number and in time. Never touches the line. Imported by
`engine.backends.worker_client`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from engine.serving import wire

PENDING_LIMIT: Final = 256
ATTEMPTS: Final = 3
"""So that a request that kills workers does not kill them for ever."""

_SECOND_US: Final = 1_000_000


class Receiver(Protocol):
    """What becomes of one sequence; there is one last word: `finished`, `refused` or `lost`."""

    def delta(self, delta: wire.Delta) -> None:
        """It gained something."""

    def finished(self, finished: wire.Finished) -> None:
        """It has ended."""

    def refused(self, refused: wire.Refused) -> None:
        """It was not admitted, or cannot go on."""

    def lost(self) -> bool:
        """The worker died. True: forget what came and send it again; False: it is over."""


@dataclass(slots=True, eq=False)
class Order:
    """A sequence to produce. `begun`: the worker has said something of it. `timer`: it waits.

    `cancelled`: nobody wants it any more, the worker's last word is all that is missing.
    """

    submit: wire.Submit
    receiver: Receiver
    allowed_us: int
    deadline_us: int
    attempts: int = 0
    sent: bool = False
    begun: bool = False
    cancelled: bool = False
    timer: asyncio.TimerHandle | None = None


class Orders:
    """By id; an id is given once."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._live: dict[int, Order] = {}
        self._next = 0
        self._waiting = 0

    @property
    def count(self) -> int:
        """How many are not over."""
        return len(self._live)

    def add(self, submit: wire.Submit, receiver: Receiver) -> Order:
        """A new order; its id replaces the one that `submit` bears."""
        self._next += 1
        order = Order(
            msgspec.structs.replace(submit, id=self._next),
            receiver,
            submit.queue_us,
            self._now_us() + submit.queue_us,
        )
        self._live[self._next] = order
        return order

    def get(self, id: int) -> Order | None:
        """The order, unless it is over."""
        return self._live.get(id)

    def pop(self, id: int) -> Order | None:
        """The order, which is over now."""
        order = self._live.pop(id, None)
        if order is not None:
            self._unhold(order)
        return order

    def every(self) -> list[Order]:
        """All that are not over."""
        return list(self._live.values())

    def sending(self, order: Order) -> wire.Submit:
        """What to send for it now, with the time that is left to it."""
        self._unhold(order)
        left = max(1, order.deadline_us - self._now_us())
        order.submit = msgspec.structs.replace(order.submit, queue_us=left)
        order.sent = True
        order.attempts += 1
        return order.submit

    def hold(self, order: Order, failed: Mapping[str, str]) -> None:
        """Let it wait for the worker or its lane, unless it can never be sent.

        Only newcomers are turned away for number.
        """
        lane = order.submit.lane
        order.sent = False
        self._unhold(order)
        if not wire.fits(order.submit):
            self.refuse(order, "too_long", "the prompt is larger than any worker takes")
        elif self._waiting >= PENDING_LIMIT and not order.attempts:
            message = f"the worker is not there and {PENDING_LIMIT} requests wait for it already"
            self.refuse(order, "queue_full", message, _SECOND_US)
        elif lane in failed:
            self.refuse(order, "no_lane", f"the adapter cannot be used: {failed[lane]}")
        elif (left := order.deadline_us - self._now_us()) <= 0:
            self._expire(order)
        else:
            self._waiting += 1
            order.timer = asyncio.get_running_loop().call_later(left / 1e6, self._expire, order)

    def held(self, lane: str) -> list[Order]:
        """Those that wait for a lane."""
        return [o for o in self._live.values() if o.timer is not None and o.submit.lane == lane]

    def again(self, order: Order, failed: Mapping[str, str]) -> None:
        """The worker died with it: hold it or give it up.

        What was in time for its first token has the time for one again.
        """
        if order.cancelled:
            self.forget(order)
            return
        if order.begun:
            if not order.receiver.lost():
                self.pop(order.submit.id)
                return
            order.deadline_us = self._now_us() + order.allowed_us
            order.begun = False
        if order.attempts >= ATTEMPTS:
            message = f"the worker died {ATTEMPTS} times while it had this request"
            self.refuse(order, "worker_lost", message)
        else:
            self.hold(order, failed)

    def forget(self, order: Order) -> None:
        """It was cancelled and the worker has nothing to say about it."""
        self.pop(order.submit.id)
        order.receiver.finished(wire.Finished(order.submit.id, "cancelled", 0, 0, 0, 0, 0))

    def refuse(self, order: Order, code: str, message: str, retry_after_us: int = 0) -> None:
        """It is over."""
        self.pop(order.submit.id)
        order.receiver.refused(wire.Refused(order.submit.id, code, message, retry_after_us))

    def _unhold(self, order: Order) -> None:
        if order.timer is not None:
            order.timer.cancel()
            order.timer = None
            self._waiting -= 1

    def _expire(self, order: Order) -> None:
        message = "the worker was not there within the time that the request allows"
        self.refuse(order, "deadline", message, _SECOND_US)
