"""What a runbook can look at: one function for each probe, which reads the store and nothing else.

Figures are those of `storage.measures`. None means that nothing was measured, which fails every
expectation. Imported by `runbooks`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from runbooks.steps import Value
from storage import measures, services, splits
from storage.measures import Window
from storage.store import Session

Probe = Callable[[Session, str, int, int], Awaitable[Value]]
"""Session, what it is of, window in seconds, the current second -> value."""


def _measured(name: str, scale: float = 1.0, digits: int | None = None) -> Probe:
    """The probe of a measure over a service's requests (see `storage.measures`)."""

    async def probe(s: Session, of: str, window_s: int, second: int) -> Value:
        service = (await services.find(s, of)).name
        window = Window.last(window_s, second)
        value = measures.MEASURES[name].of(await measures.traffic(s, window, service=service))
        if value is None:
            return None
        return value * scale if digits is None else round(value * scale, digits)

    return probe


async def split(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The weights of a service's current split: r1=90 r2=10."""
    return splits.typed(splits.pairs((await services.find(s, of)).split.arms))


async def split_id(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The split that a service is at, by its id; after going back, the one that was restored."""
    return splits.origin((await services.find(s, of)).split)


async def roll_back_target(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The split to go back to, by its id; of a service that is back already, the same one."""
    service = await services.find(s, of)
    return splits.roll_back_target(await services.history(s, service.name, limit=2))


PROBES: Final[Mapping[str, Probe]] = {
    "error_rate": _measured("error_rate"),
    "refusal_rate": _measured("refusal_rate"),
    "latency_p95_ms": _measured("latency_p95", 1e-3, 1),
    "requests": _measured("requests"),
    "split": split,
    "split_id": split_id,
    "roll_back_target": roll_back_target,
}
