"""The traffic of a service before a rollout: how much in each hour, and how stable keeps to guards.

Only requests that were executed for clients are counted, as the guards do, and at most the newest
500,000 of a week. Never judges. Read by the job that plans a rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from storage import feedback, online_scores, requests, rollout_evidence, rollout_guards
from storage.feedback import Counts
from storage.requests import Class, Outcome
from storage.rollout_evidence import EXECUTED, REQUESTS, Count
from storage.rollout_guards import Guard

WINDOW_US: Final = 7 * 24 * 3_600 * 1_000_000
MOST_ROWS: Final = 500_000
MOST_VALUES: Final = 5_000
HOUR_US: Final = 3_600 * 1_000_000


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted from `begin_us` to `end_us`.

    `by_hour` has the requests of each whole hour since 1970, UTC. `counts` are those of the guards
    on the stable release, of its `stable_n` requests; `latencies_us` the newest of its successful
    ones.
    """

    begin_us: int
    end_us: int
    by_hour: Mapping[int, int]
    stable_n: int
    counts: tuple[Count, ...]
    latencies_us: tuple[int, ...]

    @property
    def requests(self) -> int:
        """All requests in the window."""
        return sum(self.by_hour.values())


async def read(
    s: AsyncSession, service: str, stable: int, guards: Sequence[Guard], now_us: int
) -> Traffic:
    """The traffic of the last week, or since the first request of it."""
    request = REQUESTS.c
    newest = await requests.last(s)
    mine = (
        request.number > newest - MOST_ROWS,
        request.at_us >= now_us - WINDOW_US,
        request.service == service,
        request["class"] != Class.BACKGROUND.value,
        request.outcome.in_(EXECUTED),
    )
    hour = request.at_us.op("/")(HOUR_US)  # whole numbers
    found = await s.execute(select(hour, func.count()).where(*mine).group_by(hour))
    by_hour = {int(at): int(count) for at, count in found}
    begin = (await s.execute(select(func.min(request.at_us)).where(*mine))).scalar()
    own = (*mine, request.release == stable)
    stable_n, counts = await _counts(s, own, guards)
    since_us = now_us - WINDOW_US
    given = (await feedback.counts(s, since_us, service=service)).get((service, stable), Counts())
    scores = await online_scores.rates_after(
        s, service, newest - MOST_ROWS, newest, since_us=since_us
    )
    scored = rollout_evidence.checks(scores, stable)
    newest_ok = (
        select(request.latency_us)
        .where(*own, request.outcome == Outcome.OK.value)
        .order_by(request.number.desc())
        .limit(MOST_VALUES)
    )
    return Traffic(
        begin_us=now_us if begin is None else begin,
        end_us=now_us,
        by_hour=by_hour,
        stable_n=stable_n,
        counts=tuple(
            _of_some(guard, given, scored) if guard.measure in rollout_guards.OF_SOME else count
            for guard, count in zip(guards, counts, strict=True)
        ),
        latencies_us=tuple(row[0] for row in await s.execute(newest_ok)),
    )


async def _counts(
    s: AsyncSession, own: Sequence[ColumnElement[bool]], guards: Sequence[Guard]
) -> tuple[int, list[Count]]:
    """How many requests there are, and what each guard counts in them."""
    events = [rollout_evidence.counted(rollout_evidence.event(guard)) for guard in guards]
    total, *found = (await s.execute(select(func.count(), *events).where(*own))).one()
    return total, [Count(total, each) for each in found]


def _of_some(guard: Guard, given: Counts, scored: Mapping[str, Count]) -> Count:
    """What a guard counts that is known of some answers alone."""
    if guard.measure in rollout_guards.SCORED:
        return scored.get(guard.measure, Count())
    return rollout_evidence.rated(guard, given)
