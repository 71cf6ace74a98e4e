"""The guards that a rollout or an A/B test is held to, as data.

Pure: nothing here reads the store or the clock. Without the store's libraries, so that a command
can read what a person typed before these are loaded. `rollout_syntax` has how they are typed.
Imported by every package.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from storage import errors, splits
from storage.splits import WHOLE_BP

MOST_GUARDS: Final = 16

_Share = Annotated[int, Meta(ge=1, lt=WHOLE_BP)]

_SECOND_US: Final = 1_000_000


class Measure(StrEnum):
    """What a guard counts among the candidate's requests; the comment says which it is about."""

    LATENCY = "latency"  # executed requests that took longer than the limit, or failed
    TTFT = "ttft"  # executed requests whose first token took longer, or that failed
    ERROR_RATE = "error_rate"  # executed requests that failed
    THUMBS_DOWN = "thumbs_down"  # thumbs that clients gave
    WRONG = "wrong"  # answers that clients called right or wrong
    ANSWERED = "answered"  # scored answers: those that are empty
    FINISHED = "finished"  # scored answers: those cut off at the limit of tokens
    VARIED = "varied"  # scored answers: those that repeat themselves
    CLEAN = "clean"  # scored answers: those with control tokens or broken characters
    SLOWDOWN = "slowdown"  # copies that took longer than so many times stable's answer, or failed
    AGREEMENT = "agreement"  # copies whose answer differs from stable's, or that failed


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """At most this share of the candidate's requests may exceed a limit, or fail.

    "p95 at most 2 s" is a share of 5 % over 2 s. `limit_us` is given for durations alone,
    `limit_percent` for a slowdown: of the time of stable's answer. Harm ends a rollout whatever the
    guard; where it is `required`, an analysis passes only once the guard is shown to hold.
    """

    measure: Measure
    allowed_bp: _Share
    limit_us: Annotated[int, Meta(ge=1, le=10**12)] | None = None
    limit_percent: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    required: bool = True

    def __post_init__(self) -> None:
        """Refuse a duration without a limit, and a share with one."""
        if (self.limit_us is not None) != (self.measure in TIMED):
            raise ValueError("a limit belongs to latency and ttft, and only to them")
        if (self.limit_percent is not None) != (self.measure is Measure.SLOWDOWN):
            raise ValueError("a limit in percent belongs to slowdown, and only to it")

    @property
    def name(self) -> str:
        """As it is typed: latency_p95<=2s, error_rate<=1%, agreement>=80%, finished>=95%."""
        kept = splits.percent(WHOLE_BP - self.allowed_bp).replace(" ", "")
        if self.measure in OF_GOOD:
            return f"{self.measure}>={kept}"
        quantile = kept.removesuffix("%")
        if self.limit_percent is not None:
            return f"{self.measure}_p{quantile}<={self.limit_percent / 100:g}x"
        if self.limit_us is not None:
            return f"{self.measure}_p{quantile}<={_limit(self.limit_us)}"
        return f"{self.measure}<={splits.percent(self.allowed_bp).replace(' ', '')}"

    def counts(self, *, copies: bool) -> bool:
        """Whether it is about copies (of a mirror), or about the users' requests of a candidate."""
        if copies:
            return self.measure not in OF_SOME
        return self.measure not in OF_COPIES


TIMED: Final = frozenset({Measure.LATENCY, Measure.TTFT})
OF_COPIES: Final = frozenset({Measure.SLOWDOWN, Measure.AGREEMENT})
RATED: Final = frozenset({Measure.THUMBS_DOWN, Measure.WRONG})
SCORED: Final = frozenset({Measure.ANSWERED, Measure.FINISHED, Measure.VARIED, Measure.CLEAN})
"""The online checks of recorded answers, by the names that `storage.online_scores` keeps."""
OF_SOME: Final = RATED | SCORED
"""What is known of some answers alone: those that clients rated, or that were scored."""
OF_GOOD: Final = SCORED | {Measure.AGREEMENT}
"""Guards that are typed as the share that has to be good; their events are the others."""

GUARDS: Final[tuple[Guard, ...]] = (
    Guard(measure=Measure.ERROR_RATE, allowed_bp=100),
    Guard(measure=Measure.LATENCY, allowed_bp=500, limit_us=2_000_000),
    Guard(measure=Measure.THUMBS_DOWN, allowed_bp=3000, required=False),
)
"""The guards of a rollout that names none; too few clients give thumbs to wait for them."""


def of_requests(guards: Sequence[Guard]) -> None:
    """Invalid if one is about the copies of a shadow."""
    for guard in guards:
        if not guard.counts(copies=False):
            raise errors.Invalid(f"{guard.name} compares copies, which only a shadow has.")


def _limit(us: int) -> str:
    return f"{us / _SECOND_US:g}s" if us >= _SECOND_US else f"{us / 1000:g}ms"
