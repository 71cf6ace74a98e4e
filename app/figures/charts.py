"""Quantities over the last quarter of an hour, in ranges that stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from app import snapshot, words
from app.figures import load
from app.figures.facts import LEAST_TOP, Facts
from app.recent_samples import NOW_S, SPAN_S

_BLOCK_S: Final = 5
TOKENS: Final = "tokens generated a second"


def ceiling(peak: float, before: float = 0.0, least: float = LEAST_TOP) -> float:
    """A round top above the peak: 10, 20, 50, 100…; it shrinks only when far too high."""
    if before >= peak and before <= max(4 * peak, least):
        return max(before, least)
    top = least
    while top < peak:
        lead = str(top)[0]
        top *= 2.5 if lead == "2" else 2
    return top


def _peak(values: Sequence[float | None]) -> float:
    """The highest mean of five seconds; a single second may exceed the chart."""
    blocks = (load.mean(values[at : at + _BLOCK_S]) for at in range(0, len(values), _BLOCK_S))
    return max((block for block in blocks if block is not None), default=0.0)


def charts(facts: Facts) -> tuple[snapshot.Series, ...]:
    """Quantities over the last quarter of an hour, the most telling one first."""
    end, begin = facts.end, facts.end - SPAN_S + 1
    quiet = facts.node is snapshot.Node.DOWN
    tokens = facts.recent.tokens(end, begin)
    top = ceiling(_peak(tokens), facts.top)
    busy = facts.recent.busy(end, begin)
    now = load.together(facts)
    found = [
        snapshot.Series(
            title=TOKENS,
            top=top,
            label=f"{top:.0f}",
            last=words.rate(None if now is None else now.tokens_per_s, "tok"),
            end=end,
            values=tuple(tokens),
        ),
        _share("worker busy", end, busy, None if now is None else now.busy),
    ]
    used = [load.mean(_used(facts, at)) for at in range(begin, end + 1)]
    if any(share is not None for share in used):
        found.insert(
            0, _share("GPU utilisation", end, used, None if quiet else load.mean(used[-NOW_S:]))
        )
    return tuple(found)


def _used(facts: Facts, at: int) -> Iterator[float | None]:
    """The utilisation of each GPU that reported it in a second."""
    for gpu in facts.recent.gpus.values():
        if (row := gpu.get(at)) is not None and row.utilisation_percent is not None:
            yield row.utilisation_percent / 100


def _share(
    title: str, end: int, values: Sequence[float | None], now: float | None
) -> snapshot.Series:
    return snapshot.Series(
        title=title,
        top=1.0,
        label="100 %",
        last=words.UNKNOWN if now is None else f"{now * 100:.0f} %",
        end=end,
        values=tuple(values),
    )
