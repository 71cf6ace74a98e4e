"""What a runbook can look at: one function for each probe, reading the store and nothing else.

None means that there is nothing to see, which is never as expected. Imported by `runbooks`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from runbooks.steps import Value
from storage import samples, services
from storage.samples import ArmSample, Kind
from storage.services import Arm
from storage.sketches import Sketch
from storage.store import Session

Probe = Callable[[Session, str, int, int], Awaitable[Value]]
"""Session, what it is of, window in seconds, the current second -> value."""


async def error_rate(s: Session, of: str, window_s: int, second: int) -> Value:
    """The share of a service's answers that failed, 0 to 1."""
    arms = await _arms(s, of, window_s, second)
    ended = arms.ok + arms.failed
    return arms.failed / ended if ended else None


async def latency_p95_ms(s: Session, of: str, window_s: int, second: int) -> Value:
    """What nineteen in twenty of a service's answers took at most, in milliseconds."""
    arms = await _arms(s, of, window_s, second)
    p95 = Sketch.from_dict(arms.latency).quantile(0.95)
    return None if p95 is None else round(p95 / 1000, 1)


async def requests(s: Session, of: str, window_s: int, second: int) -> Value:
    """How many requests of a service ended."""
    return float((await _arms(s, of, window_s, second)).requests)


async def split(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The split of a service that is set."""
    return _words((await services.find(s, of)).split.arms)


async def split_before(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The split of a service that stood before the one that is set."""
    past = await services.history(s, (await services.find(s, of)).name, limit=2)
    return _words(past[1].arms) if len(past) > 1 else None


PROBES: Final[Mapping[str, Probe]] = {
    "error_rate": error_rate,
    "latency_p95_ms": latency_p95_ms,
    "requests": requests,
    "split": split,
    "split_before": split_before,
}


async def _arms(s: Session, of: str, window_s: int, second: int) -> ArmSample:
    name = (await services.find(s, of)).name
    found = await samples.since(s, second - window_s, Kind.ARM)
    return samples.together(
        sample for _, subject, sample in found if subject.startswith(f"{name}/")
    )


def _words(arms: Sequence[Arm]) -> str:
    return " ".join(f"r{arm.release}={arm.weight_bp}" for arm in arms)
