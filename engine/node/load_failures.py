"""Tracks which file a worker is loading or probing, and which one it dies of.

libllama may abort on a file whose header is sound; with an adapter that ends all releases on the
base. Decides about one worker and touches nothing. Imported by `engine.node.supervised`.
"""

from __future__ import annotations

from collections import Counter

from engine.node import supervision
from engine.node.specs import LoadFailure
from engine.node.status_lines import StatusLine


class LoadTracker:
    """Counts a worker's deaths while loading and probing, file by file, over all its restarts.

    `now` is what it is loading or probing: "" for the weights, the digits of an adapter, or None.
    """

    def __init__(self) -> None:
        """No file has failed yet."""
        self.now: str | None = None
        self._probing = False
        self._deaths: Counter[str] = Counter()

    def hear(self, line: StatusLine) -> LoadFailure | None:
        """Take a status line; the failure if it says that an adapter's file cannot be loaded."""
        if line.loading_adapter:
            self.now = line.loading_adapter
        elif line.loaded or line.probing:
            self.now, self._probing = "" if line.probing else None, line.probing
        elif line.ready or line.adapter_loaded or line.adapter_failed:
            del self._deaths[line.adapter_loaded or line.adapter_failed or ""]
            self.now, self._probing = None, False
        if line.adapter_failed and line.broken:
            return LoadFailure(line.adapter_failed, line.failed or "the worker gave no reason")
        return None

    def died(self, how: str, *, fault: bool) -> LoadFailure | None:
        """It ended without being asked to; the failure if the file it was loading is at fault.

        Weights are loaded before any request waits, so only faults of the process itself count:
        memory may be short for a while. An adapter is blamed however the process ended: it must not
        take down its base.
        """
        adapter, self.now = self.now, None
        probing, self._probing = self._probing, False
        if adapter is None or not (adapter or fault):
            return None
        self._deaths[adapter] += 1
        if self._deaths[adapter] < supervision.LOADS:
            return None
        what = "while computing a probe" if probing else "while loading"
        what = "while loading the adapter" if adapter else what
        return LoadFailure(adapter, f"{how} {what}, {self._deaths[adapter]} times in a row")
