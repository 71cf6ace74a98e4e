"""The stable release before a rollout and since its candidate came: latencies and traffic.

Of the half hour before the first attempt began to load the candidate. Never judges and writes
nothing. Read by `engine.control`.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from storage.requests import Class, Outcome
from storage.rollout_evidence import EXECUTED, REQUESTS
from storage.rollouts import Rollout

BEFORE_US: Final = 30 * 60 * 1_000_000
MOST_VALUES: Final = 5_000


class Timed(msgspec.Struct, frozen=True, array_like=True):
    """A request that was answered in full: when it arrived, its prompt tokens, how long it took."""

    at_us: int
    tokens: int
    us: int


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of the stable release before and since, at most 5000 of each, spread evenly.

    Before is from `begin_us` to `end_us`. The rates are of all requests of the service.
    """

    begin_us: int
    end_us: int
    before: tuple[Timed, ...] = ()
    since: tuple[Timed, ...] = ()
    before_per_s: float = 0.0
    since_per_s: float = 0.0


async def of(s: AsyncSession, rollout: Rollout, began_us: int, now_us: int) -> Baseline:
    """Stable before the rollout, and since the candidate got its weight at `began_us`."""
    end_us = rollout.started_at_us
    begin_us = end_us - BEFORE_US
    before = await _timed(s, rollout, begin_us, end_us)
    if before:
        begin_us = max(begin_us, before[0].at_us)  # it may have become stable only then
    return Baseline(
        begin_us=begin_us,
        end_us=end_us,
        before=before,
        since=await _timed(s, rollout, began_us, now_us),
        before_per_s=await _rate(s, rollout, begin_us, end_us),
        since_per_s=await _rate(s, rollout, began_us, now_us),
    )


async def _timed(
    s: AsyncSession, rollout: Rollout, begin_us: int, end_us: int
) -> tuple[Timed, ...]:
    request = REQUESTS.c
    mine = (
        request.at_us >= begin_us,
        request.at_us < end_us,
        request.service == rollout.service,
        request.release == rollout.stable,
        request["class"] != Class.BACKGROUND.value,
        request.outcome == Outcome.OK.value,
    )
    count = (await s.execute(select(func.count()).where(*mine))).scalar() or 0
    every = count // MOST_VALUES + 1
    query = select(request.at_us, request.prompt_tokens, request.latency_us).where(
        *mine, request.number.op("%")(every) == 0
    )
    return tuple(Timed(*row) for row in await s.execute(query.order_by(request.at_us)))


async def _rate(s: AsyncSession, rollout: Rollout, begin_us: int, end_us: int) -> float:
    request = REQUESTS.c
    query = select(func.count()).where(
        request.at_us >= begin_us,
        request.at_us < end_us,
        request.service == rollout.service,
        request["class"] != Class.BACKGROUND.value,
        request.outcome.in_(EXECUTED),
    )
    count = (await s.execute(query)).scalar() or 0
    return count * 1_000_000 / max(end_us - begin_us, 1)
