"""How progress is written: amounts, rates, and a bar; alike on screens and the command line.

Never reads anything. Imported by `app.job_progress` and the screen.
"""

from __future__ import annotations

from app import words

BYTES = "B"


def amount(done: int | None, total: int | None, unit: str) -> str:
    """How much is done: 1.20 GB of 4.00 GB; a dash where nothing is counted."""
    if done is None:
        return words.UNKNOWN
    if total is None:
        return _count(done, unit)
    return f"{_count(done, unit)} of {_count(total, unit)}"


def rate(per_s: int | None, unit: str) -> str:
    """The measured rate: 84.1 MB/s."""
    if per_s is None:
        return words.UNKNOWN
    return f"{words.size(per_s)}/s" if unit == BYTES else words.rate(per_s, unit)


def bar(share: float | None, width: int, *, full: str = "█", empty: str = "░") -> str:
    """A bar of `width` cells; empty where the share is unknown."""
    filled = 0 if share is None else min(width, int(share * width))
    return full * filled + empty * (width - filled)


def _count(number: int, unit: str) -> str:
    return words.size(number) if unit == BYTES else words.count(number)
