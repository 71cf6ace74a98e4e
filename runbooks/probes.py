"""What a runbook can look at: one function for each probe, which reads the store and nothing else.

Figures are those of `storage.measures`. None means that nothing was measured, which fails every
expectation. Imported by `runbooks`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from runbooks.steps import Value
from storage import measures, services
from storage.measures import Window
from storage.services import Arm
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
    """The current split of a service."""
    return _words((await services.find(s, of)).split.arms)


async def split_before(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The split that a service had before the current one."""
    past = await services.history(s, (await services.find(s, of)).name, limit=2)
    return _words(past[1].arms) if len(past) > 1 else None


PROBES: Final[Mapping[str, Probe]] = {
    "error_rate": _measured("error_rate"),
    "refusal_rate": _measured("refusal_rate"),
    "latency_p95_ms": _measured("latency_p95", 1e-3, 1),
    "requests": _measured("requests"),
    "split": split,
    "split_before": split_before,
}


def _words(arms: Sequence[Arm]) -> str:
    return " ".join(f"r{arm.release}={arm.weight_bp}" for arm in arms)
