"""What a step of a job is handed: its arguments, earlier results, and ways to report.

Steps may call all of it from threads. It writes nothing itself: progress and log lines are
collected and stored once a second by `engine.jobs.attempt`. Imported by the job kinds.
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
    """The surroundings of one attempt of a job."""

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
        """A directory for files that are not finished; it is kept until the job ends."""
        self.results: Final = dict(results)
        """What earlier steps returned, by their names."""
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
        """Whether the step should leave now."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise Cancelled if the step should leave now; call it between pieces of work."""
        if self._cancelled.is_set():
            raise Cancelled("the job is being cancelled")

    def progress(self, done: int, total: int | None = None, unit: str = "") -> None:
        """Say how much of the step is done, as often as it suits. Raises Cancelled as `check`."""
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
        """Ask the step to leave."""
        self._cancelled.set()

    def begin(self) -> None:
        """Forget the progress of the step before."""
        with self._lock:
            self._current = None
            self._samples.clear()

    @property
    def advanced(self) -> bool:
        """Whether this attempt has got further in any step that reports progress."""
        with self._lock:
            return (
                self._current is not None
                and self._first is not None
                and self._current[0] > self._first
            )

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
