"""When a process that reports regularly is late: one rule for the node and for the gateway.

Pure, and a separate module so that the node starts without importing more for it. Imported by
`engine.node.supervision` and `engine.backends.worker_client`.
"""

from __future__ import annotations

from typing import Final

LATE_US: Final = 1_500_000
"""A silence of this length is late: workers and event loops report at least once a second."""

_PATIENCE_PERCENT: Final = 160
"""Times the recent pace: a step of a large model may take seconds, during which nothing is sent."""
_FORGOTTEN_PERCENT: Final = 50
"""Of the time since, by which earlier intervals count less."""
_LONGEST_US: Final = 8_000_000
"""A longer interval was a hang, not a step: it excuses no second one."""


def pace_us(before_us: int, interval_us: int) -> int:
    """The longest of the recent intervals, once another one has ended."""
    return max(min(interval_us, _LONGEST_US), before_us - interval_us * _FORGOTTEN_PERCENT // 100)


def late_us(pace_us: int, shortest_us: int = LATE_US) -> int:
    """How long a silence is late at this pace."""
    return max(shortest_us, pace_us * _PATIENCE_PERCENT // 100)
