"""Requests that the gateway answered with an error and did not record: they count for no arm.

Those without a valid key, for an unknown service, with a malformed body. Pure, from the gateway's
samples. Imported by every package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from storage.measures import Window
from storage.samples import GatewaySample

UNAUTHENTICATED: Final = frozenset({"missing_api_key", "invalid_api_key"})
"""The error codes of requests without a valid key."""


def by_code(rows: Iterable[GatewaySample]) -> Counter[str]:
    """How many, by the code of the error."""
    found: Counter[str] = Counter()
    for row in rows:
        found.update(row.rejected)
    return found


def unauthenticated_per_s(rows: Sequence[GatewaySample], window: Window) -> float | None:
    """Requests without a valid key per second of the window whose rows these are; None without."""
    if not rows:
        return None
    found = by_code(rows)
    return sum(found[code] for code in UNAUTHENTICATED) / window.seconds
