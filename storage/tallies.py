"""A tally: what happened to an arm's requests in a span of time, as counts and sketches that add.

It decides once which requests a count or a duration is about; `storage.measures` makes figures of
it. Adding is exact, associative and commutative, so seconds, arms and processes add up in any
order. Never reads the store. Imported by whatever counts requests: the gateway's windows, its
/metrics, `storage.samples` and `storage.measures`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self

import msgspec

from storage import sketches
from storage.requests import Outcome, Request
from storage.sketches import Sketch


class ArmSample(msgspec.Struct, frozen=True, kw_only=True):
    """A tally as it is stored: one release, or one tenant, of a service in one second.

    Durations are sketches in microseconds (`Sketch.to_dict`), `errors` counts requests by error
    code, `cached_tokens` those of the prompts that were in a cache already. Thumbs are differences:
    a changed thumb takes the earlier one back.
    """

    requests: int = 0
    ok: int = 0
    failed: int = 0
    invalid: int = 0
    refused: int = 0
    cancelled: int = 0
    synthetic: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_us: int = 0
    latency: dict[str, Any] = {}
    ttft: dict[str, Any] = {}
    inter_token: dict[str, Any] = {}
    queue: dict[str, Any] = {}
    errors: dict[str, int] = {}
    thumbs_up: int = 0
    thumbs_down: int = 0
    cached_tokens: int = 0


def latency_us(request: Request) -> int | None:
    """From arrival to the end of the answer, for requests that were answered in full; else None.

    A failure or a cancellation ends early and would make a failing release look fast.
    """
    return request.latency_us if request.outcome is Outcome.OK else None


def ttft_us(request: Request) -> int | None:
    """From arrival to the first token, for every request that got one, however it ended."""
    return request.ttft_us


def queue_us(request: Request) -> int | None:
    """From arrival to the first computation; None for a request that was never computed."""
    computed = request.outcome is Outcome.OK or request.ttft_us is not None
    return request.queue_us if computed else None


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of requests that ended, and their durations in microseconds.

    `requests` is the sum of ok, failed, invalid, refused and cancelled. Tokens and `busy_us`
    include requests that did not end well: they were computed. `inter_token` is fed by the caller
    that sees the tokens.
    """

    requests: int = 0
    ok: int = 0
    failed: int = 0
    invalid: int = 0
    refused: int = 0
    cancelled: int = 0
    synthetic: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_us: int = 0
    thumbs_up: int = 0
    thumbs_down: int = 0
    cached_tokens: int = 0
    latency: Sketch = field(default_factory=Sketch)
    ttft: Sketch = field(default_factory=Sketch)
    inter_token: Sketch = field(default_factory=Sketch)
    queue: Sketch = field(default_factory=Sketch)
    errors: Counter[str] = field(default_factory=Counter)

    def count(self, request: Request) -> None:
        """Count a request that has ended."""
        self.requests += 1
        setattr(self, request.outcome.value, getattr(self, request.outcome.value) + 1)
        self.synthetic += request.synthetic
        self.prompt_tokens += request.prompt_tokens
        self.completion_tokens += request.completion_tokens
        self.cached_tokens += request.cached_tokens
        self.busy_us += request.busy_us
        if request.error_code is not None:
            self.errors[request.error_code] += 1
        for sketch, value in (
            (self.latency, latency_us(request)),
            (self.ttft, ttft_us(request)),
            (self.queue, queue_us(request)),
        ):
            if value is not None:
                sketch.add(value)

    def rate(self, score: int, before: int | None = None) -> None:
        """Count a thumb, 1 or -1; `before` is the thumb that it replaces."""
        for thumb, by in ((score, 1), (before, -1)):
            if thumb is not None and thumb > 0:
                self.thumbs_up += by
            elif thumb is not None:
                self.thumbs_down += by

    def add(self, other: Tally) -> Self:
        """Add another tally, which stays as it is."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _SKETCHES:
            getattr(self, name).merge(getattr(other, name))
        self.errors.update(other.errors)
        return self

    @property
    def empty(self) -> bool:
        """Whether nothing was counted."""
        return self == Tally()

    def sample(self) -> ArmSample:
        """As it is stored."""
        return ArmSample(
            **{name: getattr(self, name) for name in _COUNTS},
            **{name: getattr(self, name).to_dict() for name in _SKETCHES},
            errors=dict(self.errors),
        )

    @classmethod
    def of(cls, sample: ArmSample) -> Self:
        """The tally that was stored."""
        fields: dict[str, Any] = {name: getattr(sample, name) for name in _COUNTS}
        fields |= {name: Sketch.from_dict(getattr(sample, name)) for name in _SKETCHES}
        return cls(errors=Counter(sample.errors), **fields)


class Packed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tally of a roll-up: counts by name, those that are zero left out, and sketches by name."""

    counts: dict[str, int] = {}
    sketches: dict[str, sketches.Packed] = {}
    errors: dict[str, int] = {}


def pack(tally: Tally) -> Packed:
    """As roll-ups store it."""
    packed = {name: getattr(tally, name).pack() for name in _SKETCHES}
    return Packed(
        counts={name: count for name in _COUNTS if (count := getattr(tally, name))},
        sketches={name: each for name, each in packed.items() if each is not None},
        errors={code: count for code, count in tally.errors.items() if count},
    )


def add_packed(tally: Tally, packed: Packed) -> None:
    """Add what `pack` packed; counts that this version does not know are left out."""
    for name, count in packed.counts.items():
        if name in _COUNTS:
            setattr(tally, name, getattr(tally, name) + count)
    for name, sketch in packed.sketches.items():
        if name in _SKETCHES:
            getattr(tally, name).merge_packed(sketch)
    if packed.errors:
        tally.errors.update(packed.errors)


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of tallies, none of them changed."""
    whole = Tally()
    for tally in tallies:
        whole.add(tally)
    return whole


_SKETCHES: Final = ("latency", "ttft", "inter_token", "queue")
_COUNTS: Final = tuple(
    name for name in ArmSample.__struct_fields__ if name not in {*_SKETCHES, "errors"}
)
