"""Which of several equal copies gets the next request: the least loaded, in turn among equals.

A copy that has computed the beginning of a prompt gets it although it has a few requests more.
Pure. Used for the instances of a local pool and of a supervised server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

WORTH: Final = 4.0
"""A copy that has computed all of a prompt may have so many requests more than another."""


def pick(
    loads: Sequence[int | None], last: int, shares: Sequence[float] | None = None
) -> int | None:
    """The index of the copy with the fewest requests; None if no copy can take one.

    A load of None excludes a copy. `last` is the index picked before, -1 at first: of equally
    loaded copies the next one after it is picked, so that an idle set is used evenly. `shares` say
    how much of the prompt each has computed before, 0 to 1.
    """
    best: int | None = None
    least = 0.0
    for step in range(1, len(loads) + 1):
        index = (last + step) % len(loads)
        load = loads[index]
        if load is None:
            continue
        cost = load - (WORTH * shares[index] if shares else 0.0)
        if best is None or cost < least:
            best, least = index, cost
    return best
