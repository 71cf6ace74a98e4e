"""What the copies of a shadow show: the candidate's figures beside stable's.

Every figure is computed here, for screens, commands and reports alike, and is None without data.
Of the newest comparisons alone, so that a look costs the same however long a shadow runs. Decides
nothing. Imported by every package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import measures, shadow_comparisons
from storage.rollout_steps import Strategy
from storage.rollouts import Rollout
from storage.shadow_comparisons import AGREES_F1, Comparison

NEWEST: Final = 1_000
"""The comparisons that are summed up, at most."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One release: mean tokens of an answer, and quantiles of its times in µs, without waits."""

    tokens: float | None
    p50_us: int | None
    p95_us: int | None
    ttft_p95_us: int | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The newest copies that were compared; `failed` of them the candidate could not answer.

    `exact` are answers equal to stable's, `agreement` the share of copies whose answer agrees with
    it and `between` its 95 % interval, `f1` the mean token F1. `logprob` is the mean natural-log
    probability that the candidate gives to a token of stable's answers, over `scored_tokens`, and
    `unlikely` the share of tokens that are not its first choice. The sides are of copies that were
    answered.
    """

    copies: int
    failed: int
    exact: float | None
    agreement: float | None
    between: tuple[float, float] | None
    f1: float | None
    logprob: float | None
    scored_tokens: int
    unlikely: float | None
    stable: Side
    candidate: Side

    @property
    def length_ratio(self) -> float | None:
        """Tokens of the candidate's answers / tokens of stable's."""
        stable, candidate = self.stable.tokens, self.candidate.tokens
        return candidate / stable if stable and candidate is not None else None


async def of(s: AsyncSession, rollout: Rollout) -> Figures | None:
    """The figures of a rollout's attempt; None without a copy."""
    if rollout.strategy is not Strategy.SHADOW:
        return None
    found = await shadow_comparisons.tail(s, rollout.id, rollout.attempt, NEWEST)
    return summed(found) if found else None


def summed(comparisons: Sequence[Comparison]) -> Figures:
    """The figures of some comparisons."""
    answered = [each for each in comparisons if each.error_code is None]
    agree = sum(each.f1 >= AGREES_F1 for each in answered)
    scored = [each for each in answered if each.logprob is not None]
    tokens = sum(each.scored_tokens for each in scored)
    total = sum((each.logprob or 0.0) * each.scored_tokens for each in scored)
    return Figures(
        copies=len(comparisons),
        failed=len(comparisons) - len(answered),
        exact=_mean([each.exact for each in answered]),
        agreement=agree / len(comparisons) if comparisons else None,
        between=measures.interval(agree, len(comparisons)),
        f1=_mean([each.f1 for each in answered]),
        logprob=total / tokens if tokens else None,
        scored_tokens=tokens,
        unlikely=_unlikely(scored),
        stable=_side(
            [each.stable_tokens for each in answered],
            [each.stable_us for each in answered],
            [each.stable_ttft_us for each in answered],
        ),
        candidate=_side(
            [each.candidate_tokens for each in answered],
            [each.candidate_us for each in answered],
            [each.candidate_ttft_us for each in answered],
        ),
    )


def _side(tokens: Sequence[int], took_us: Sequence[int], ttft_us: Sequence[int | None]) -> Side:
    return Side(
        tokens=_mean(tokens),
        p50_us=_quantile(took_us, 0.5),
        p95_us=_quantile(took_us, 0.95),
        ttft_p95_us=_quantile([each for each in ttft_us if each is not None], 0.95),
    )


def _unlikely(scored: Sequence[Comparison]) -> float | None:
    known = [each for each in scored if each.top_tokens is not None]
    tokens = sum(each.scored_tokens for each in known)
    return 1 - sum(each.top_tokens or 0 for each in known) / tokens if tokens else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _quantile(values: Sequence[int], q: float) -> int | None:
    """The smallest value that at least a share `q` of them do not exceed (nearest rank)."""
    return sorted(values)[max(math.ceil(q * len(values)), 1) - 1] if values else None
