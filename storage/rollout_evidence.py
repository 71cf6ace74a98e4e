"""What was counted of a rollout's candidate, and who met it.

A candidate is counted from the moment at which it got the weight that it has, or copies. The counts
grow by what was recorded since the last look, whose number is kept with them, so that a look costs
as much as is new. Never judges. Read by every package; kept with a look, by `rollout_looks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Integer, case, column, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from storage import feedback, online_scores, requests, rollout_guards, shadow_comparisons
from storage.feedback import Counts
from storage.online_scores import Rate
from storage.requests import Class, Outcome
from storage.rollout_guards import Guard, Measure
from storage.rollout_rows import Impact, Rollout, RolloutRow

REQUESTS: Final = table(
    "requests",
    *map(column, (
        "number", "at_us", "service", "release", "class", "outcome", "latency_us", "ttft_us",
        "key_id", "tenant", "prompt_tokens", "unit",
    )),
)  # fmt: skip
FINAL_US: Final = 15 * 60 * 1_000_000
"""After the end of a rollout its last requests have ended, too."""
EXECUTED: Final = (Outcome.OK.value, Outcome.FAILED.value)


class Count(msgspec.Struct, frozen=True, array_like=True):
    """How many cases a guard is about, and in how many of them its event happened."""

    n: int = 0
    events: int = 0

    def plus(self, more: Count) -> Count:
        """Both together."""
        return Count(self.n + more.n, self.events + more.events)


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Both arms in one stretch of time: requests, and events of each guard that counts requests."""

    candidate_n: int
    stable_n: int
    candidate: tuple[int, ...]
    stable: tuple[int, ...]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of the guards, in their order, of requests that arrived since `began_us`.

    `last` is the number of the newest request, or comparison of a copy, that was looked at;
    `scored` that of the newest request whose answer was looked at by online scoring; before the
    first look, that of the newest request at `began_us`.
    """

    began_us: int = 0
    last: int = 0
    scored: int = 0
    counts: tuple[Count, ...] = ()
    blocks: tuple[Block, ...] = ()


OF_REQUESTS: Final = frozenset({Measure.ERROR_RATE, Measure.LATENCY, Measure.TTFT})
"""What guards count in requests, which both arms have at any time."""
NO_EVIDENCE: Final = Evidence()


async def begin(s: AsyncSession, rollout: Rollout, at_us: int, *, copies: bool = False) -> str:
    """The evidence of a candidate that gets a new weight, or copies, as the row's column has it."""
    newest = await requests.last(s)
    last = await shadow_comparisons.last(s) if copies else newest
    counts = (Count(),) * len(rollout.guards)
    evidence = Evidence(began_us=at_us, last=last, scored=newest, counts=counts)
    return msgspec.json.encode(evidence).decode()


async def stored(s: AsyncSession, rollout: Rollout) -> Evidence:
    """The counts as the last look left them."""
    row = await s.get_one(RolloutRow, rollout.id, populate_existing=True)
    return msgspec.json.decode(row.evidence, type=Evidence)


async def count(s: AsyncSession, rollout: Rollout) -> Evidence:
    """The counts with what was recorded since; nothing is written."""
    before = await stored(s, rollout)
    if rollout.mirror is not None:
        return await _of_copies(s, rollout, before)
    until = await requests.last(s)
    fresh = await _fresh(s, rollout, before, until)
    thumbs = await feedback.counts(s, before.began_us, service=rollout.service)
    given = thumbs.get((rollout.service, rollout.candidate), Counts())
    scored, checked = await _scored(s, rollout, before)
    counts = []
    for guard, old, new in zip(rollout.guards, before.counts, fresh, strict=True):
        if not guard.counts(copies=False):
            counts.append(old)
        elif guard.measure in rollout_guards.RATED:
            counts.append(rated(guard, given))
        elif guard.measure in rollout_guards.SCORED:
            counts.append(old.plus(checked.get(guard.measure, Count())))
        else:
            counts.append(old.plus(new))
    return Evidence(
        began_us=before.began_us, last=until, scored=scored, counts=tuple(counts),
        blocks=before.blocks,
    )  # fmt: skip


async def impact(s: AsyncSession, rollout: Rollout, ended_us: int, at_us: int) -> Impact | None:
    """Who met the candidate of this attempt, as far as it is recorded at `at_us`.

    None if it never had traffic. Requests that were under way when the rollout ended are recorded
    later: the count is final a quarter of an hour after the end.
    """
    if rollout.exposed_at_us is None:
        return None
    request = REQUESTS.c
    query = select(
        func.count(),
        counted(request.outcome == Outcome.FAILED.value),
        func.count(func.nullif(request.unit, requests.UNNAMED).distinct()),
        func.count(request.key_id.distinct()),
        func.count(request.tenant.distinct()),
    ).where(
        request.at_us >= rollout.exposed_at_us,
        request.at_us <= ended_us,
        request.service == rollout.service,
        request.release == rollout.candidate,
        request["class"] != Class.BACKGROUND.value,
        request.outcome.in_(EXECUTED),
    )
    total, failed, users, keys, tenants = (await s.execute(query)).one()
    spent = ended_us - rollout.exposed_at_us
    return Impact(
        requests=total,
        failed=failed,
        users=users,
        keys=keys,
        tenants=tenants,
        exposed_us=spent,
        found_us=spent,
        final=at_us >= ended_us + FINAL_US,
    )


async def _of_copies(s: AsyncSession, rollout: Rollout, before: Evidence) -> Evidence:
    """The counts with the copies that were compared since."""
    last, n, found = await shadow_comparisons.count(
        s, rollout.id, rollout.attempt, after=before.last, guards=rollout.guards
    )
    counts = tuple(
        old.plus(Count(n, events)) if guard.counts(copies=True) else old
        for guard, old, events in zip(rollout.guards, before.counts, found, strict=True)
    )
    return msgspec.structs.replace(before, last=last, counts=counts)


async def _scored(
    s: AsyncSession, rollout: Rollout, before: Evidence
) -> tuple[int, Mapping[str, Count]]:
    """Up to which request answers are scored, and what each check found since the last look."""
    if not any(guard.measure in rollout_guards.SCORED for guard in rollout.guards):
        return before.scored, {}
    scoring = await online_scores.find(s, rollout.service)
    if scoring is None or scoring.cursor <= before.scored:
        return before.scored, {}
    found = await online_scores.rates_after(
        s, rollout.service, before.scored, scoring.cursor, since_us=before.began_us
    )
    return scoring.cursor, checks(found, rollout.candidate)


def checks(found: Iterable[Rate], release: int) -> dict[str, Count]:
    """By check: the scored answers of a release, and those of them that did not pass."""
    return {
        each.scorer: Count(each.scored, each.scored - each.passed)
        for each in found
        if each.release == release
    }


def rated(guard: Guard, given: Counts) -> Count:
    """What clients said of answers, as a guard on ratings counts it."""
    if guard.measure is Measure.WRONG:
        return Count(given.correct + given.wrong, given.wrong)
    return Count(given.up + given.down, given.down)


async def _fresh(s: AsyncSession, rollout: Rollout, before: Evidence, until: int) -> list[Count]:
    """What each guard counts in the requests after the last look; of others it means nothing."""
    request = REQUESTS.c
    events = [counted(event(guard)) for guard in rollout.guards]
    query = select(func.count(), *events).where(
        request.number > before.last,
        request.number <= until,
        request.service == rollout.service,
        request.release == rollout.candidate,
        request.at_us >= before.began_us,
        request["class"] != Class.BACKGROUND.value,
        request.outcome.in_(EXECUTED),
    )
    total, *found = (await s.execute(query)).one()
    return [Count(total, each) for each in found]


def event(guard: Guard) -> ColumnElement[bool]:
    """Whether an executed request is an event of a guard; one that failed always is."""
    request = REQUESTS.c
    failed = request.outcome == Outcome.FAILED.value
    match guard.measure:
        case Measure.LATENCY:
            return failed | (request.latency_us > guard.limit_us)
        case Measure.TTFT:
            return failed | request.ttft_us.is_(None) | (request.ttft_us > guard.limit_us)
        case _:
            return failed


def counted(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """How many rows meet a condition, 0 without a row."""
    return func.coalesce(func.sum(case((condition, 1), else_=0), type_=Integer), 0)
