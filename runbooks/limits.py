"""How often a runbook may start without a person: `2 per 1h`.

Pure. Imported by `runbooks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LIMIT: Final = re.compile(r"([1-9][0-9]{0,3}) per ([1-9][0-9]{0,3})([smhd])")


@dataclass(frozen=True, slots=True)
class Limit:
    """So many starts within a sliding window of seconds."""

    most: int
    seconds: int

    def allows(self, starts_us: Iterable[int], now_us: int) -> bool:
        """Whether one more may start, after starts at these times."""
        since = now_us - self.seconds * 1_000_000
        return sum(since < at <= now_us for at in starts_us) < self.most


def parsed(text: str) -> Limit | None:
    """The limit that a text says; None if it says none."""
    found = _LIMIT.fullmatch(text.strip())
    return None if found is None else Limit(int(found[1]), int(found[2]) * _SECONDS[found[3]])
