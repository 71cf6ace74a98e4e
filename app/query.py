"""What the person looks at, so that nothing is read which nobody sees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """The place that is open, and which requests or job of it."""

    place: str = "pulse"
    filter: str = ""
    limit: int = 100
    request: str = ""
    job: int = 0
