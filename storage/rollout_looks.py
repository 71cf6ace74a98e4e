"""What was counted of a rollout's candidate, and each look at it with its verdicts.

A candidate is counted from the moment at which it got the weight that it has, or copies. The counts
grow by what was recorded since the last look, whose number is kept with them, so that a look costs
as much as is new. Never judges. Written by `engine.control`, read by every package.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Final

import msgspec
from sqlalchemy import ColumnElement, Integer, case, column, delete, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import feedback, requests, rollouts, shadow_comparisons
from storage.requests import Class, Outcome
from storage.rollout_rows import Impact, Rollout, RolloutRow
from storage.rollout_steps import Guard, Measure, SetWeight

REQUESTS: Final = table(
    "requests",
    *map(column, (
        "number", "at_us", "service", "release", "class", "outcome", "latency_us", "ttft_us",
        "key_id", "tenant", "prompt_tokens", "unit",
    )),
)  # fmt: skip
KEPT: Final = 1_000
"""So many of the newest looks of a rollout are kept; a canary is looked at once a second."""
FINAL_US: Final = 15 * 60 * 1_000_000
"""After the end of a rollout its last requests have ended, too."""
EXECUTED: Final = (Outcome.OK.value, Outcome.FAILED.value)


class Count(msgspec.Struct, frozen=True, array_like=True):
    """How many cases a guard is about, and in how many of them its event happened."""

    n: int = 0
    events: int = 0


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Both arms in one stretch of time: requests, and events of each guard that counts requests."""

    candidate_n: int
    stable_n: int
    candidate: tuple[int, ...]
    stable: tuple[int, ...]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of the guards, in their order, of requests that arrived since `began_us`.

    `last` is the number of the newest request, or comparison of a copy, that was looked at.
    """

    began_us: int = 0
    last: int = 0
    counts: tuple[Count, ...] = ()
    blocks: tuple[Block, ...] = ()


OF_REQUESTS: Final = frozenset({Measure.ERROR_RATE, Measure.LATENCY, Measure.TTFT})
"""What guards count in requests, which both arms have at any time."""
NO_EVIDENCE: Final = Evidence()


class Verdict(StrEnum):
    """What a look says of a guard."""

    PENDING = "pending"  # no case yet
    RUNNING = "running"  # too few to tell
    HOLDS = "holds"
    HARM = "harm"
    ERROR = "error"  # it could not be computed


class LookRow(SQLModel, table=True):
    """A verdict on one guard as it is stored."""

    __tablename__: ClassVar[str] = "rollout_looks"

    id: int | None = Field(default=None, primary_key=True)
    rollout_id: int
    attempt: int
    step: int
    at_us: int
    guard: str
    n: int
    events: int
    harm_e: float
    safety_e: float
    low: float
    high: float
    needed: int | None
    verdict: str
    sentence: str


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on one guard: the counts, the e-values of both gates, the interval of the rate.

    For a comparison with stable `guard` is its name, and the interval that of the difference: of
    rates, or of durations in milliseconds. `needed` is how many more cases without an event would
    show that the guard holds.
    """

    rollout_id: int
    attempt: int
    step: int
    at_us: int
    guard: str
    n: int
    events: int
    harm_e: float
    safety_e: float
    low: float
    high: float
    needed: int | None
    verdict: Verdict
    sentence: str = ""


async def begin(s: AsyncSession, rollout: Rollout, at_us: int, *, copies: bool = False) -> str:
    """The evidence of a candidate that gets a new weight, or copies, as the row's column has it."""
    last = await (shadow_comparisons.last(s) if copies else requests.last(s))
    evidence = Evidence(began_us=at_us, last=last, counts=(Count(),) * len(rollout.guards))
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
    given = thumbs.get((rollout.service, rollout.candidate))
    counts = []
    for guard, old, new in zip(rollout.guards, before.counts, fresh, strict=True):
        if not guard.counts(copies=False):
            counts.append(old)
        elif guard.measure is Measure.THUMBS_DOWN:
            counts.append(Count() if given is None else Count(given.up + given.down, given.down))
        else:
            counts.append(Count(old.n + new.n, old.events + new.events))
    return Evidence(
        began_us=before.began_us, last=until, counts=tuple(counts), blocks=before.blocks
    )


async def record(
    s: AsyncSession, rollout: Rollout, evidence: Evidence, looks: Sequence[Look]
) -> None:
    """Keep a look: its verdicts, and the counts from which the next one continues."""
    s.add_all(
        LookRow(**msgspec.structs.asdict(look) | {"verdict": look.verdict.value}) for look in looks
    )
    await rollouts.change(s, rollout.id, evidence=msgspec.json.encode(evidence).decode())
    await s.flush()


async def newest(s: AsyncSession, rollout: Rollout, *, until_us: int | None = None) -> list[Look]:
    """The last look at each guard at this weight, in their order, then at each comparison.

    With `until_us` the last one up to a moment.
    """
    if rollout.step is None:
        return []
    weights = [at for at, step in enumerate(rollout.steps) if isinstance(step, SetWeight)]
    began = max((at for at in weights if at <= rollout.step), default=0)
    latest = (
        select(func.max(col(LookRow.id)))
        .where(
            col(LookRow.rollout_id) == rollout.id,
            col(LookRow.attempt) == rollout.attempt,
            col(LookRow.step) >= began,
        )
        .group_by(col(LookRow.guard))
    )
    if until_us is not None:
        latest = latest.where(col(LookRow.at_us) <= until_us)
    query = select(LookRow).where(col(LookRow.id).in_(latest)).order_by(col(LookRow.guard))
    by_name = {row.guard: _look(row) for row in await s.scalars(query)}
    named = {guard.name for guard in rollout.guards}
    guards = [by_name[guard.name] for guard in rollout.guards if guard.name in by_name]
    return guards + [look for name, look in by_name.items() if name not in named]


async def of(s: AsyncSession, rollout_id: int, limit: int = KEPT) -> list[Look]:
    """The newest looks of a rollout, oldest first."""
    query = select(LookRow).where(col(LookRow.rollout_id) == rollout_id)
    rows = await s.scalars(query.order_by(col(LookRow.id).desc()).limit(limit))
    return [_look(row) for row in rows][::-1]


async def prune(s: AsyncSession, before_us: int, limit: int = 2_000) -> int:
    """Delete at most `limit` looks older than a moment, or of which a rollout has too many.

    The newest look at each guard stays. Returns how many; call it until it is 0.
    """
    newest = select(func.max(col(LookRow.id))).group_by(
        col(LookRow.rollout_id), col(LookRow.attempt), col(LookRow.guard)
    )
    place = func.row_number().over(
        partition_by=col(LookRow.rollout_id), order_by=col(LookRow.id).desc()
    )
    placed = select(
        col(LookRow.id).label("id"), col(LookRow.at_us).label("at_us"), place.label("place")
    ).subquery()
    old = select(placed.c.id).where(
        (placed.c.at_us < before_us) | (placed.c.place > KEPT), placed.c.id.not_in(newest)
    )
    gone = await s.execute(delete(LookRow).where(col(LookRow.id).in_(old.limit(limit))))
    return int(gone.rowcount)  # type: ignore[attr-defined]


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
        Count(old.n + n, old.events + events) if guard.counts(copies=True) else old
        for guard, old, events in zip(rollout.guards, before.counts, found, strict=True)
    )
    return Evidence(began_us=before.began_us, last=last, counts=counts)


async def _fresh(s: AsyncSession, rollout: Rollout, before: Evidence, until: int) -> list[Count]:
    """What each guard counts in the requests after the last look; zeros for thumbs."""
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


def _look(row: LookRow) -> Look:
    return msgspec.convert(row, Look, from_attributes=True)
