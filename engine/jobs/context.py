"""The context of a step: arguments, earlier results, progress and log.

Thread-safe. Writes nothing itself: `engine.jobs.reporting` stores progress and log lines once a
second. Imported by `engine.jobs` and the job kinds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from engine.jobs.errors import Cancelled
from storage.home.paths import Home
from storage.jobs import Job, Progress
from storage.store import Store

_WINDOW_US: Final = 10_000_000
_SAMPLES: Final = 64


class Context:
    """The context of one attempt of a job."""

    def __init__(
        self,
        job: Job,
        *,
        home: Home,
        store: Store,
        scratch: Path,
        results: Mapping[str, Any],
        now_us: Callable[[], int],
        monotonic_us: Callable[[], int],
    ) -> None:
        self.job: Final = job
        self.home: Final = home
        self.store: Final = store
        self.scratch: Final = scratch
        """A directory for unfinished files; it is removed when the job ends."""
        self.results: Final = dict(results)
        """The results of earlier steps, by name."""
        self.now_us: Final = now_us
        self._monotonic_us = monotonic_us
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._lines: list[tuple[int, str]] = []
        self._current: tuple[int, int | None, str] | None = None
        self._first: int | None = None
        self._samples: deque[tuple[int, int]] = deque(maxlen=_SAMPLES)

    @property
    def cancelled(self) -> bool:
        """Whether the step should end now."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise Cancelled if the step should end now; call it between chunks of work."""
        if self._cancelled.is_set():
            raise Cancelled("the job is being cancelled")

    def progress(self, done: int, total: int | None = None, unit: str = "") -> None:
        """Report how much of the step is done; cheap. Raises Cancelled as `check` does."""
        now = self._monotonic_us()
        with self._lock:
            self._current = (done, total, unit)
            if self._first is None:
                self._first = done
            if not self._samples or now - self._samples[-1][0] >= _WINDOW_US // _SAMPLES:
                self._samples.append((now, done))
            while len(self._samples) > 1 and now - self._samples[0][0] > _WINDOW_US:
                self._samples.popleft()
        self.check()

    def log(self, text: str) -> None:
        """Add a line to the job's log."""
        with self._lock:
            self._lines.append((self.now_us(), text))

    # For the attempt alone

    def cancel(self) -> None:
        """Make `check` raise Cancelled."""
        self._cancelled.set()

    def begin(self) -> None:
        """Reset the progress for the next step."""
        with self._lock:
            self._current = self._first = None
            self._samples.clear()

    @property
    def advanced(self) -> bool:
        """Whether the step continued where an earlier attempt stopped, and got further.

        A step that starts over makes no progress, however far it gets.
        """
        with self._lock:
            return self._current is not None and self._current[0] > (self._first or 0) > 0

    def measured(self) -> Progress | None:
        """The progress of the step, with the rate of the last seconds."""
        with self._lock:
            if self._current is None:
                return None
            done, total, unit = self._current
            rate = None
            if self._samples:
                at, before = self._samples[0]
                elapsed = self._monotonic_us() - at
                if elapsed > 0 and done > before:
                    rate = (done - before) * 1_000_000 // elapsed
        return Progress(done=done, total=total, unit=unit, rate_per_s=rate)

    def take_lines(self) -> list[tuple[int, str]]:
        """The log lines since the last call."""
        with self._lock:
            lines, self._lines = self._lines, []
        return lines
