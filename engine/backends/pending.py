"""The requests of one worker that have not ended: sent, or held until they can be sent.

Held requests are bounded in number and in time. Never touches the connection. Imported by
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
"""How many requests may be held for a worker that is not connected."""
DEATHS_LIMIT: Final = 3
"""A request that this many workers died of is given up, so that it cannot kill them forever."""

_SECOND_US: Final = 1_000_000


class Receiver(Protocol):
    """Follows one sequence; the last call is `finished`, `refused`, or `lost` returning False."""

    def delta(self, delta: wire.Delta) -> None:
        """The sequence gained tokens."""

    def finished(self, finished: wire.Finished) -> None:
        """The sequence has ended."""

    def refused(self, refused: wire.Refused) -> None:
        """The sequence was not admitted, or cannot continue."""

    def lost(self) -> bool:
        """The worker died after a delta. True: discard the deltas and send it again."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One sequence to generate or to score; times are microseconds of the client's monotonic clock.

    `begun`: a delta arrived. `timer` is set while the request is held, `admitted` once it was held
    or sent. `cancelled`: only the worker's final count is missing. `deaths` counts the workers that
    died while they had it.
    """

    item: wire.Submit | wire.Score
    receiver: Receiver
    allowed_us: int
    deadline_us: int
    deaths: int = 0
    admitted: bool = False
    sent: bool = False
    begun: bool = False
    cancelled: bool = False
    timer: asyncio.TimerHandle | None = None


class PendingRequests:
    """By id; ids are never reused."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._live: dict[int, PendingRequest] = {}
        self._next = 0
        self._held = 0

    @property
    def count(self) -> int:
        """How many have not ended."""
        return len(self._live)

    def add(self, item: wire.Submit | wire.Score, receiver: Receiver) -> PendingRequest:
        """A new request; its id replaces the one in `item`."""
        self._next += 1
        request = PendingRequest(
            msgspec.structs.replace(item, id=self._next),
            receiver,
            item.queue_us,
            self._now_us() + item.queue_us,
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
            self._release(request)
        return request

    def all(self) -> list[PendingRequest]:
        """Every request that has not ended."""
        return list(self._live.values())

    def uses(self, adapter: str) -> bool:
        """Whether a request that has not ended needs the adapter."""
        return any(request.item.adapter == adapter for request in self._live.values())

    def send(self, request: PendingRequest) -> wire.Submit | wire.Score:
        """Mark as sent; return the frame's item, with the queue time that is left."""
        self._release(request)
        left = max(1, request.deadline_us - self._now_us())
        request.item = msgspec.structs.replace(request.item, queue_us=left)
        request.sent = request.admitted = True
        return request.item

    def hold(self, request: PendingRequest, failed: Mapping[str, str]) -> None:
        """Keep until the worker and its adapter are available; refuse if that cannot help.

        `failed` maps the adapters that did not load to the reasons. PENDING_LIMIT applies to new
        requests only.
        """
        adapter = request.item.adapter
        request.sent = False
        self._release(request)
        if not wire.fits(request.item):
            self.refuse(request, "too_long", "the prompt is larger than a frame can hold")
        elif self._held >= PENDING_LIMIT and not request.admitted:
            message = (
                f"the worker is not connected and {PENDING_LIMIT} requests already wait for it"
            )
            self.refuse(request, "queue_full", message, _SECOND_US)
        elif adapter in failed:
            self.refuse(request, "no_adapter", f"the adapter cannot be used: {failed[adapter]}")
        elif (left := request.deadline_us - self._now_us()) <= 0:
            self._expire(request)
        else:
            self._held += 1
            request.admitted = True
            request.timer = asyncio.get_running_loop().call_later(left / 1e6, self._expire, request)

    def held(self, adapter: str) -> list[PendingRequest]:
        """The held requests that need the adapter."""
        return [
            request
            for request in self._live.values()
            if request.timer is not None and request.item.adapter == adapter
        ]

    def lost(self, request: PendingRequest, failed: Mapping[str, str], *, died: bool) -> None:
        """The connection ended while the worker had the request: hold it or give it up.

        `died`: the worker had not said that it drains. A request whose first token had arrived in
        time is allowed the same time again.
        """
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
            self.hold(request, failed)

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

    def _release(self, request: PendingRequest) -> None:
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None
            self._held -= 1

    def _expire(self, request: PendingRequest) -> None:
        message = "no worker was available within the time that the request allows"
        self.refuse(request, "deadline", message, _SECOND_US)
