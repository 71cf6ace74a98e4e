"""The requests of one connection, answered in their order.

Imported by `engine.gateway.http.connection`.
"""

from __future__ import annotations

from collections import deque

from engine.gateway.http.exchange import Exchange


class Pipeline:
    """`current` is being answered; the body of `parsed` is being received, if there is one."""

    def __init__(self) -> None:
        """Without a request."""
        self.current: Exchange | None = None
        self.parsed: Exchange | None = None
        self._behind: deque[Exchange] = deque()

    @property
    def behind(self) -> int:
        """How many requests wait for the current one."""
        return len(self._behind)

    @property
    def last(self) -> Exchange:
        """The last of those that wait."""
        return self._behind[-1]

    def add(self, exchange: Exchange) -> None:
        """A request behind those that there are."""
        if self.current is None:
            self.current = exchange
        else:
            self._behind.append(exchange)

    def advance(self) -> Exchange:
        """The next request is the current one."""
        self.current = self._behind.popleft()
        return self.current

    def body(self, data: bytes) -> None:
        """A part of the body of the latest request."""
        if self.parsed is not None:
            self.parsed.add(data)

    def whole(self) -> None:
        """The latest request is complete."""
        if self.parsed is not None:
            self.parsed.end()
        self.parsed = None

    def drop_partial(self) -> None:
        """The client sends no more: forget the last request where its body is incomplete."""
        if self._behind and not self._behind[-1].whole:
            self._behind.pop().disconnect()

    def drop_behind(self) -> None:
        """Forget the requests that wait."""
        for each in self._behind:
            each.disconnect()
        self._behind.clear()

    def disconnect(self) -> None:
        """Forget all; nothing more is written for them."""
        for each in (self.current, *self._behind, self.parsed):
            if each is not None and not each.complete:
                each.disconnect()
        self.current = self.parsed = None
        self._behind.clear()
