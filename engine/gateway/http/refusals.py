"""Connections and requests that are turned away: counted by reason, and logged.

The first of a reason is logged at once, the following ones as a count every minute, so that a flood
of connections does not become a flood of lines. Imported by `engine.gateway`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import structlog

LOG_S: Final = 60

_log = structlog.get_logger("gateway.http")


class Reason(StrEnum):
    """Why a connection was refused or closed; also the code of the error, where one is sent."""

    CONNECTIONS = "connections"
    """The limit of connections is reached, and none of them may be displaced."""
    ADDRESS = "address"
    """The limit of the client's address is reached, and none of its own may be displaced."""
    DISPLACED = "displaced"
    """It had no request under way, or left its answer unread, and made room for another."""
    INVALID_HTTP = "invalid_http"
    HEAD_TOO_LARGE = "head_too_large"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    BODY_TOO_SLOW = "body_too_slow"
    BODIES = "bodies_in_flight"
    """The bodies being received, of its key or in all, exceed their limit."""
    PIPELINED = "pipelined"
    """Too many requests waited behind the one that was being answered."""
    SLOW_READER = "slow_reader"
    ANSWER_TIMEOUT = "answer_timeout"


class Refusals:
    """Counts since the start; `totals` by reason: a `Reason`, or the code of an error."""

    def __init__(
        self, on_refused: Callable[[str], None] = lambda _: None, *, event: str = "refused"
    ) -> None:
        """`on_refused` is called with each reason; `event` is how a line of the log begins."""
        self._on_refused = on_refused
        self._event = event
        self._logged: dict[str, int] = {}
        self._seconds = 0
        self.totals: Counter[str] = Counter()

    def count(self, reason: str, client: str) -> None:
        """One more; `client` is its address."""
        reason = str(reason)
        self.totals[reason] += 1
        self._on_refused(reason)
        if reason not in self._logged:
            self._logged[reason] = self.totals[reason]
            _log.warning(self._event, reason=reason, client=client)

    def tick(self) -> None:
        """The per-second tick: log what came since the last line, once a minute."""
        self._seconds += 1
        if self._seconds < LOG_S:
            return
        self._seconds = 0
        for reason, before in list(self._logged.items()):
            more = self.totals[reason] - before
            if more:
                _log.warning(self._event, reason=reason, more=more, total=self.totals[reason])
                self._logged[reason] = self.totals[reason]
            else:
                del self._logged[reason]
