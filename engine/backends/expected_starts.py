"""When deployments without an instance are expected back, so that refused clients return then.

By what is known of their processes: when the node starts them again, and how long that took the
last time. Never reads the store; `engine.gateway.absences` tells it. Imported by the backends and
the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from storage.processes import Process, State

LEAST_US: Final = 1_000_000
MOST_US: Final = 48_000_000
"""OpenAI's clients ignore a wait over a minute, also with the spread, and then come too early."""
_UNKNOWN_US: Final = 5_000_000
"""For a start that was never measured."""
_SPREAD: Final = 16
"""How many different waits clients get that are refused one after the other."""


class ExpectedStarts:
    """The deployments that have no instance, as they were last looked at."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        """`now_us` is monotonic."""
        self._now_us = now_us
        self._at_us: dict[str, int] = {}
        self._told = 0

    def expect(self, waits_us: dict[str, int]) -> None:
        """How long from now each deployment without an instance will take; the others have one."""
        now = self._now_us()
        self._at_us = {name: now + wait for name, wait in waits_us.items()}

    def retry_us(self, deployment: str) -> int:
        """After how long a refused request to a deployment should be sent again.

        Up to a quarter longer for some than for others: not all return at once.
        """
        left = self._at_us.get(deployment, 0) - self._now_us()
        wait = min(max(left, LEAST_US), MOST_US)
        self._told += 1
        return wait + wait * (self._told % _SPREAD) // (4 * _SPREAD)


def wait_us(instances: Sequence[tuple[Process, int | None]], now_us: int) -> int:
    """How long until the first of these instances is ready, in UTC microseconds from `now_us`.

    Each comes with the time that its last start took, None where that is not known.
    """
    return min((_of(each, took, now_us) for each, took in instances), default=_UNKNOWN_US)


def _of(process: Process, took_us: int | None, now_us: int) -> int:
    took = _UNKNOWN_US if took_us is None else took_us
    match process.state, process.starts_at_us:
        case State.READY, _:  # it is about to be connected
            return 0
        case State.STARTING, _:
            elapsed = max(0, now_us - process.started_at_us)
            return took - elapsed if elapsed < took else elapsed
        case State.CRASHED, None:  # it has been given up
            return MOST_US
        case State.CRASHED, int(starts_at_us):
            return max(0, starts_at_us - now_us) + took
        case _:
            return took
