"""What a worker is loading, and of which files it dies: the weights, or the adapter of a lane.

Libllama may abort on a file whose header is sound, and takes the worker along, with an adapter all
releases on its base. Decides about one worker, touches nothing.
"""

from __future__ import annotations

from collections import Counter

from engine.node import supervision
from engine.node.specs import Broken
from engine.node.status_lines import Said


class Loads:
    """One worker's, over all its lives. Weights are the lane ""; `now` is None between loads."""

    def __init__(self) -> None:
        """Nothing is held against any file."""
        self.now: str | None = None
        self._deaths: Counter[str] = Counter()

    @property
    def opening(self) -> bool:
        """Whether it is busy with an adapter, between two of its beats."""
        return bool(self.now)

    def hear(self, said: Said) -> Broken | None:
        """Take what was said of loading; an adapter that nobody can load is told."""
        if said.opening:
            self.now = said.opening
        elif said.loaded or said.ready or said.opened or said.unopened:
            del self._deaths[said.opened or said.unopened or ""]
            self.now = None
        if said.unopened and said.broken:
            return Broken(said.unopened, said.failed or "the worker gave no reason")
        return None

    def died(self, how: str, *, fault: bool) -> Broken | None:
        """It ended without being told; enough such ends in a row while loading are the file's.

        Weights are loaded before anybody waits, so that only faults of the process itself count:
        memory may be short for a while. An adapter is not worth its base, whatever the end was.
        """
        lane, self.now = self.now, None
        if lane is None or not (lane or fault):
            return None
        self._deaths[lane] += 1
        if self._deaths[lane] < supervision.LOADS:
            return None
        what = "while it opened the adapter" if lane else "while it loaded"
        return Broken(lane, f"{how} {what}, {self._deaths[lane]} times in a row")
