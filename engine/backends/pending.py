"""Requests that have not ended: sent to a worker, or held until one can take them.

Held requests are bounded in number and in time. The workers of a pool share one `PendingRequests`,
so that a request that one of them lost can go to another. Never touches a connection. Imported by
`engine.backends.pool` and `worker_client`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from engine.serving import framing, wire

PENDING_LIMIT: Final = 256
"""How many requests may be held while no worker can take them."""
DEATHS_LIMIT: Final = 3
"""A request is refused after this many workers died while they had it."""


class Receiver(Protocol):
    """Follows one sequence; the last call is `finished`, `refused`, or `lost` returning False."""

    def delta(self, delta: wire.Delta, at_us: int) -> None:
        """The sequence gained tokens, in a frame that was received at this monotonic time."""

    def finished(self, finished: wire.Finished) -> None:
        """The sequence has ended."""

    def refused(self, refused: wire.Refused) -> None:
        """The sequence was not admitted, or cannot continue."""

    def lost(self) -> bool:
        """The worker died after a delta. True: discard the deltas and send it again."""


class Worker(Protocol):
    """What requests are sent to; `load` counts those that it has."""

    load: int

    def cancel_sent(self, id: int) -> None:
        """Send the cancellation of a request."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One sequence to generate or to score; times are microseconds of the monotonic clock.

    `worker` has it, None while it is held. `begun`: a delta arrived. `timer` is set while the
    request is held, `admitted` once it was held or sent. `cancelled`: only the worker's final count
    is missing. `deaths` counts the workers that died while they had it.
    """

    item: wire.Request
    receiver: Receiver
    allowed_us: int
    deadline_us: int
    added_us: int
    sent_us: int = 0
    worker: Worker | None = None
    deaths: int = 0
    admitted: bool = False
    begun: bool = False
    cancelled: bool = False
    timer: asyncio.TimerHandle | None = None


class PendingRequests:
    """By id; ids are never reused.

    `failed` returns the adapters that no worker can load, with the reasons; `retry_us` after how
    long a request that no worker could take should be sent again.
    """

    def __init__(
        self,
        now_us: Callable[[], int],
        failed: Callable[[], Mapping[str, str]],
        retry_us: Callable[[], int],
    ) -> None:
        self._now_us = now_us
        self._failed = failed
        self._retry_us = retry_us
        self._live: dict[int, PendingRequest] = {}
        self._next = 0
        self._held = 0

    @property
    def count(self) -> int:
        """How many have not ended."""
        return len(self._live)

    @property
    def held_count(self) -> int:
        """How many no worker has."""
        return self._held

    def add(self, item: wire.Request, receiver: Receiver) -> PendingRequest:
        """A new request; its id replaces the one in `item`."""
        self._next += 1
        now = self._now_us()
        request = PendingRequest(
            msgspec.structs.replace(item, id=self._next),
            receiver,
            item.queue_us,
            now + item.queue_us,
            now,
        )
        self._live[self._next] = request
        return request

    def get(self, id: int) -> PendingRequest | None:
        """The request, unless it has ended."""
        return self._live.get(id)

    def pop(self, id: int) -> PendingRequest | None:
        """End the request and return it, unless it has ended before."""
        request = self._live.pop(id, None)
        if request is not None:
            self._unhold(request)
            self._unsend(request)
        return request

    def refuse_all(self, why: str) -> None:
        """End every request with a refusal."""
        for request in list(self._live.values()):
            self.refuse(request, "worker_gone", why)

    def uses(self, adapter: str) -> bool:
        """Whether a request that has not ended needs the adapter."""
        return any(request.item.adapter == adapter for request in self._live.values())

    def send(self, request: PendingRequest, worker: Worker) -> wire.Request:
        """Mark as sent to a worker; return the frame's item, with the queue time that is left."""
        self._unhold(request)
        self._unsend(request)
        request.sent_us = self._now_us()
        left = max(1, request.deadline_us - request.sent_us)
        request.item = msgspec.structs.replace(request.item, queue_us=left)
        request.worker = worker
        request.admitted = True
        worker.load += 1
        return request.item

    def hold(self, request: PendingRequest) -> None:
        """Keep until a worker with its adapter is available; refuse if that cannot help.

        PENDING_LIMIT applies to new requests only. A request that has ended is left alone. A
        further part of a job has the whole time again: the first one bounds the wait of the job.
        """
        if request.item.id not in self._live:
            return
        self._unhold(request)
        self._unsend(request)
        if isinstance(request.item, wire.Embed) and request.item.request:
            request.deadline_us = self._now_us() + request.allowed_us
        failed = self._failed().get(request.item.adapter)
        if not framing.fits(request.item):
            self.refuse(request, "too_long", "the prompt is larger than a frame can hold")
        elif self._held >= PENDING_LIMIT and not request.admitted:
            message = f"no worker is available and {PENDING_LIMIT} requests already wait for one"
            self.refuse(request, "no_worker", message, self._retry_us())
        elif failed is not None:
            self.refuse(request, "no_adapter", f"the adapter cannot be used: {failed}")
        elif (left := request.deadline_us - self._now_us()) <= 0:
            self._expire(request)
        else:
            self._held += 1
            request.admitted = True
            request.timer = asyncio.get_running_loop().call_later(left / 1e6, self._expire, request)

    def held(self) -> list[PendingRequest]:
        """The requests that no worker has, oldest first."""
        return [request for request in self._live.values() if request.timer is not None]

    def sent_to(self, worker: Worker) -> list[PendingRequest]:
        """The requests that a worker has, oldest first."""
        return [request for request in self._live.values() if request.worker is worker]

    def cancel(self, id: int) -> None:
        """Stop a request; its receiver gets `finished` with the final count."""
        request = self._live.get(id)
        if request is None or request.cancelled:
            return
        request.cancelled = True
        if request.worker is not None:
            request.worker.cancel_sent(id)
        else:
            self.forget(request)

    def lost(self, request: PendingRequest, *, died: bool) -> None:
        """The connection ended while a worker had the request: hold it or give it up.

        `died`: the worker had not said that it drains. A request whose first token had arrived in
        time is allowed the same time again. A request that has ended is left alone.
        """
        if request.item.id not in self._live:
            return
        if request.cancelled:
            self.forget(request)
            return
        if request.begun:
            if not request.receiver.lost():
                self.pop(request.item.id)
                return
            request.deadline_us = self._now_us() + request.allowed_us
        request.deaths += died or request.begun  # a draining worker finishes what has begun
        request.begun = False
        if request.deaths >= DEATHS_LIMIT:
            message = f"the worker died {DEATHS_LIMIT} times while it had this request"
            self.refuse(request, "worker_lost", message)
        else:
            self.hold(request)

    def forget(self, request: PendingRequest) -> None:
        """It was cancelled, and no worker will count what it cost."""
        self.pop(request.item.id)
        request.receiver.finished(wire.Finished(request.item.id, "cancelled", 0, 0, 0, 0, 0))

    def refuse(
        self, request: PendingRequest, code: str, message: str, retry_after_us: int = 0
    ) -> None:
        """End the request with a refusal."""
        self.pop(request.item.id)
        request.receiver.refused(wire.Refused(request.item.id, code, message, retry_after_us))

    def _unsend(self, request: PendingRequest) -> None:
        if request.worker is not None:
            request.worker.load -= 1
            request.worker = None

    def _unhold(self, request: PendingRequest) -> None:
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None
            self._held -= 1

    def _expire(self, request: PendingRequest) -> None:
        message = "no worker was available within the time that the request allows"
        self.refuse(request, "no_worker", message, self._retry_us())
