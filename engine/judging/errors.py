"""The error of this package.

    Exception
      ValueError
        CannotJudge   the numbers handed over cannot be judged; no verdict follows from them

A controller that gets one treats the measurement as failed: it is never a pass.
"""

from __future__ import annotations

import math


class CannotJudge(ValueError):
    """These numbers cannot be judged; the message names the one to correct."""


def check_counts(n: int, events: int) -> None:
    """Refuses counts that no series of requests can have.

    Raises:
        CannotJudge: a negative count, or more events than requests.
    """
    if n < 0 or events < 0 or events > n:
        raise CannotJudge(f"{events} events in {n} requests: give 0 <= events <= requests")


def check_share(name: str, share: float) -> None:
    """Refuses a share that is not strictly between 0 and 1.

    Raises:
        CannotJudge: the share is 0, 1, outside, or not a number.
    """
    if not (math.isfinite(share) and 0 < share < 1):
        raise CannotJudge(f"{name} is {share}: give a share between 0 and 1, both excluded")
