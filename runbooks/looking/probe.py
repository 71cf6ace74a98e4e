"""The type of a probe, and the window that it looks at.

Imported by `runbooks.looking` and `runbooks.probes`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from runbooks.values import Value
from storage.store import Session

Probe = Callable[[Session, str, int, int], Awaitable[Value]]
"""Session, what it is of, window in seconds, the current second -> value; None: not measured."""


def rounded(value: float | None, digits: int = 3) -> float | None:
    """A figure with the digits that people compare."""
    return None if value is None else round(value, digits)
