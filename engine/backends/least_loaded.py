"""Which of several equal copies gets the next request: the least loaded, in turn among equals.

Pure. Used for the instances of a local pool and of a supervised server.
"""

from __future__ import annotations

from collections.abc import Sequence


def pick(loads: Sequence[int | None], last: int) -> int | None:
    """The index of the copy with the fewest requests; None if no copy can take one.

    A load of None excludes a copy. `last` is the index picked before, -1 at first: of equally
    loaded copies the next one after it is picked, so that an idle set is used evenly.
    """
    best: int | None = None
    least = 0
    for step in range(1, len(loads) + 1):
        index = (last + step) % len(loads)
        load = loads[index]
        if load is not None and (best is None or load < least):
            best, least = index, load
    return best
