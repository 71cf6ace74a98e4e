"""What time it is, in whole microseconds. Everything that needs a time is handed one of these.

Never formats and never sleeps. Every package may import it.
"""

from __future__ import annotations

import time


def now_us() -> int:
    """UTC, microseconds since 1970. It may jump when the machine's clock is set."""
    return time.time_ns() // 1_000


def monotonic_us() -> int:
    """Microseconds that only grow; for durations, never for the store."""
    return time.monotonic_ns() // 1_000
