"""Services and their arms: what was set beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from storage.rollout_policies import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One release of a service window: what was set beside what was measured."""

    service: str
    release: int
    model: str
    prompt: str
    weight_bp: int
    actual: float | None
    requests: int
    synthetic: float | None  # share of the requests
    per_s: float | None
    p50_us: float | None
    p95_us: float | None
    ttft_p95_us: float | None
    queue_p95_us: float | None
    errors: float | None  # the error rate
    failed: int
    refused: int
    cancelled: int
    tokens_per_s: float | None
    kilo_micro: int | None  # price of a thousand tokens in micro-units; None without a price
    up: int
    down: int
    liked: float | None  # the share of thumbs up
    between: tuple[float, float] | None = None  # the 95 % interval of `actual`
    cached: float | None = None  # share of the prompt tokens
    departed: bool = False  # it has left the split; its requests are still in the window

    @property
    def key(self) -> str:
        """As rows are found again: support/r14."""
        return f"{self.service}/r{self.release}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Weights that were set once."""

    id: int
    arms: tuple[tuple[int, int], ...]  # release, basis points
    set_at_us: int
    set_by: str
    restores: int | None = None  # the split that it went back to
    reason: str = ""  # that the person gave


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service with the splits it has had, newest first; the first is current."""

    name: str
    version: int  # what an intent has seen
    record_text: bool
    requests: int
    synthetic: float | None  # share of the requests
    arms: tuple[Arm, ...]
    history: tuple[Split, ...]
    owner: str = ""  # the rollout or A/B test that owns the split
    frozen: str = ""  # by whom, since when and why
    staging_of: str = ""  # the production service that it tries releases for
    rollout_policy: Policy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficWindow:
    """The window of the traffic figures."""

    window_us: int
    currency: str
    priced: bool
    until_us: int | None = None  # where it ended, when that is not now
    synthetic: float | None = None  # share of the requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What a release would do with a request now; `reason` is why it would not answer at once."""

    refused: bool  # control gives it no further traffic
    reason: str
    starts_in_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Services and their arms; `waits` has the releases that would not answer at once."""

    services: tuple[Service, ...]
    window: TrafficWindow
    waits: Mapping[int, Readiness] = field(default_factory=dict)
