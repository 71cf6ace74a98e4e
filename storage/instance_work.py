"""What the instances of deployments did in a window, and the measures of it.

As `storage.measures` does for requests, each figure is defined once, is pure, and is None without
data. Imported by every package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from storage import samples
from storage.measures import Window
from storage.samples import InstanceSample, Kind

_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one instance did in a window, and its state at the end of it."""

    last: InstanceSample
    decode_tokens: int
    busy_us: int | None
    idle_us: int | None
    seconds: float
    """The part of the window that was measured."""


def of(rows: Sequence[InstanceSample]) -> Work | None:
    """The work of one instance from its rows, oldest first; None without a row.

    A row covers its busy and idle time, and a second where a backend reports neither.
    """
    if not rows:
        return None
    busy = _sum(row.busy_us for row in rows)
    idle = _sum(row.idle_us for row in rows)
    if busy is not None and idle is not None:
        seconds = (busy + idle) / _SECOND_US
    else:
        seconds = float(len(rows))
    return Work(
        last=rows[-1],
        decode_tokens=sum(row.decode_tokens for row in rows),
        busy_us=busy,
        idle_us=idle,
        seconds=seconds,
    )


def generation_rate(works: Iterable[Work]) -> float | None:
    """Tokens generated per measured second, summed over instances, finished requests or not."""
    rates = [work.decode_tokens / work.seconds for work in works if work.seconds > 0]
    return sum(rates) if rates else None


def busy_share(works: Iterable[Work]) -> float | None:
    """Computing time / (computing + idle time) of the instances that report both."""
    known = [(w.busy_us, w.idle_us) for w in works if w.busy_us is not None]
    busy = sum(busy for busy, _ in known)
    whole = busy + sum(idle or 0 for _, idle in known)
    return busy / whole if whole > 0 else None


def kv_use(states: Sequence[InstanceSample]) -> float | None:
    """KV cache tokens in use / tokens that fit.

    Where a server reports only a share, the mean of the shares. None where nothing is reported.
    """
    tokens = [
        (s.kv_used_tokens, s.kv_total_tokens)
        for s in states
        if s.kv_used_tokens is not None and s.kv_total_tokens
    ]
    if tokens and len(tokens) == len(states):
        return sum(used for used, _ in tokens) / sum(total for _, total in tokens)
    shares = [s.kv_share for s in states if s.kv_share is not None]
    shares += [used / total for used, total in tokens]
    return sum(shares) / len(shares) if shares else None


async def by_instance(
    s: AsyncSession, window: Window, *, deployment: str | None = None
) -> dict[str, Work]:
    """What each instance did in a window, of all deployments or one; only those measured."""
    rows: dict[str, list[InstanceSample]] = {}
    for _, instance, sample in await samples.since(s, window.begin, Kind.INSTANCE, window.end):
        if deployment is None or samples.deployment(instance) == deployment:
            rows.setdefault(instance, []).append(sample)
    found = {instance: of(each) for instance, each in rows.items()}
    return {instance: each for instance, each in found.items() if each is not None}


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
