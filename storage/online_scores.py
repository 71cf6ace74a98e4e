"""Online scores: which recorded answers passed the cheap checks, by arm; off until a share is set.

A share of a service's answers, chosen by their ids, is checked after the fact where its texts are
recorded. Every check passes or fails, so a release has a rate with an interval. Written by
`engine.control.scoring`, read by every package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec
from sqlalchemy import ColumnElement, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import ledger, measures, requests, rollout_guards, services
from storage.request_rows import StoredRow
from storage.requests import Class, Outcome, RequestRow
from storage.rollout_guards import Guard
from storage.service_rows import Service
from storage.store import insert_new

WHOLE_BP: Final = 10_000


class ScoringRow(SQLModel, table=True):
    """The share of a service's answers that is scored, and how far that is."""

    __tablename__: ClassVar[str] = "online_scoring"

    service: str = Field(primary_key=True)
    share_bp: int
    cursor: int
    set_at_us: int
    set_by: str


class ScoreRow(SQLModel, table=True):
    """A check of one answer as it is stored, by the number of its request."""

    __tablename__: ClassVar[str] = "online_scores"

    service: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    scorer: str = Field(primary_key=True)
    release: int
    at_us: int
    ab_test: int | None = None
    passed: bool


class Scoring(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a service's answers are scored, in basis points, up to request `cursor`."""

    service: str
    share_bp: int
    cursor: int


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A check of one answer; of its request are the number, the arrival and the A/B test."""

    service: str
    number: int
    scorer: str
    release: int
    at_us: int
    ab_test: int | None = None
    passed: bool


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that may be scored if its text is recorded; `number` is its request's."""

    number: int
    request_id: str
    release: int
    at_us: int
    ab_test: int | None = None
    finish_reason: str | None


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How many answers of a release passed a check."""

    service: str
    release: int
    scorer: str
    passed: int
    scored: int

    @property
    def share(self) -> float:
        """Passed / scored."""
        return self.passed / self.scored

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the share."""
        return measures.interval(self.passed, self.scored)


async def every(s: AsyncSession) -> list[Scoring]:
    """The services whose answers are scored."""
    rows = await s.scalars(
        select(ScoringRow).order_by(col(ScoringRow.service))
        .execution_options(populate_existing=True)
    )  # fmt: skip
    return [msgspec.convert(row, Scoring, from_attributes=True) for row in rows]


async def set(
    s: AsyncSession,
    service: str,
    share_bp: int,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> int:
    """Score this share of a service's answers from now on, none with 0; returns the share before.

    Raises:
        NotFound: there is no such service.
    """
    await services.find(s, service)
    row = await s.get(ScoringRow, service, populate_existing=True)
    before = 0 if row is None else row.share_bp
    if row is not None and not share_bp:
        await s.delete(row)
    elif row is not None:
        row.share_bp, row.set_at_us, row.set_by = share_bp, at_us, actor
    elif share_bp:
        newest = await requests.last(s)
        s.add(ScoringRow(service=service, share_bp=share_bp, cursor=newest, set_at_us=at_us,
                         set_by=actor))  # fmt: skip
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="scoring.set", noun="scoring", key=service, before=before,
        after=share_bp, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return before


async def candidates(s: AsyncSession, of: Scoring, within: int) -> tuple[list[Candidate], int]:
    """A service's answers among the next `within` requests of the box, and the last of these.

    Oldest first, without their texts, so that those that are not in the share cost little. What
    the box asked for itself, in class background, is left out as other guards leave it out.
    """
    until = min(await requests.last(s), of.cursor + within)
    query = (
        select(
            col(RequestRow.number), col(RequestRow.text_id), col(RequestRow.release),
            col(RequestRow.at_us), col(RequestRow.ab_test), col(RequestRow.finish_reason),
        )
        .where(
            col(RequestRow.service) == of.service,
            col(RequestRow.number) > of.cursor,
            col(RequestRow.number) <= until,
            col(RequestRow.outcome) == Outcome.OK.value,
            col(RequestRow.class_) != Class.BACKGROUND.value,
            col(RequestRow.release).is_not(None),
        )
        .order_by(col(RequestRow.number))
    )  # fmt: skip
    return [
        Candidate(
            number=number or 0, request_id=id, release=release or 0, at_us=at_us,
            ab_test=ab_test, finish_reason=reason,
        )
        for number, id, release, at_us, ab_test, reason in await s.execute(query)
    ], until  # fmt: skip


async def record(s: AsyncSession, service: str, cursor: int, scored: list[Scored]) -> None:
    """Store checks, and that the answers up to request `cursor` were looked at."""
    rows = [msgspec.structs.asdict(each) for each in scored]
    await insert_new(s, ScoreRow, rows, key=("service", "number", "scorer"))
    row = await s.get(ScoringRow, service, populate_existing=True)
    if row is not None:  # it was switched off meanwhile
        row.cursor = max(row.cursor, cursor)
        await s.flush()


async def find(s: AsyncSession, service: str) -> Scoring | None:
    """How many of a service's answers are scored, and up to which request; None where none are."""
    row = await s.get(ScoringRow, service, populate_existing=True)
    return None if row is None else msgspec.convert(row, Scoring, from_attributes=True)


async def behind_us(s: AsyncSession, service: str, now_us: int) -> int:
    """For how long the first request that scoring has not looked at has waited; 0 without one."""
    scoring = await find(s, service)
    if scoring is None:
        return 0
    ended = col(StoredRow.at_us) + col(StoredRow.latency_us)
    query = select(ended).where(col(StoredRow.number) > scoring.cursor)
    first = (await s.execute(query.order_by(col(StoredRow.number)).limit(1))).scalar()
    return 0 if first is None else max(now_us - first, 0)


async def missing(s: AsyncSession, service: Service, guards: Sequence[Guard]) -> str:
    """Which of the guards would never count anything, and what to do; empty where all do."""
    name = next((each.name for each in guards if each.measure in rollout_guards.SCORED), None)
    if name is None:
        return ""
    said = f"{name} counts scored answers, and no answer of {service.name} is scored"
    if not service.record_text:
        return f"{said}: its texts are not recorded (`paddock services set --record-text`)."
    if await find(s, service.name) is None:
        return f"{said}: `paddock scoring set {service.name} 10` scores 10 % of them."
    return ""


async def rates(
    s: AsyncSession, since_us: int, until_us: int = 2**62, service: str | None = None
) -> list[Rate]:
    """The rates of the answers whose requests came in a range, by service, release and check."""
    where = [col(ScoreRow.at_us) >= since_us, col(ScoreRow.at_us) < until_us]
    if service is not None:  # `|| ''` keeps SQLite from reading all that the service ever had
        where.append(col(ScoreRow.service) + "" == service)
    return await _rates(s, where)


async def rates_after(
    s: AsyncSession,
    service: str,
    after: int,
    until: int,
    *,
    since_us: int = 0,
    ab_test: int | None = None,
) -> list[Rate]:
    """The rates of a service's answers after one request up to another, by release and check.

    Of requests that arrived since a moment, and of those in an A/B test if one is given. Costs as
    much as there are scores between the two requests.
    """
    where = [
        col(ScoreRow.service) == service,
        col(ScoreRow.number) > after,
        col(ScoreRow.number) <= until,
        col(ScoreRow.at_us) + 0 >= since_us,  # `+ 0`: by the numbers, which are fewer
    ]
    if ab_test is not None:
        where.append(col(ScoreRow.ab_test) == ab_test)
    return await _rates(s, where)


async def prune(s: AsyncSession, before_us: int, limit: int = 8_000) -> int:
    """Delete at most `limit` scores of requests from before a moment; returns how many.

    Call it until it is 0; each call is short, so that no write waits for long.
    """
    key = (col(ScoreRow.service), col(ScoreRow.number), col(ScoreRow.scorer))
    old = select(*key).where(col(ScoreRow.at_us) < before_us).limit(limit)
    gone = await s.execute(delete(ScoreRow).where(tuple_(*key).in_(old)))
    return int(gone.rowcount)  # type: ignore[attr-defined]


async def _rates(s: AsyncSession, where: Sequence[ColumnElement[bool]]) -> list[Rate]:
    of = (col(ScoreRow.service), col(ScoreRow.release), col(ScoreRow.scorer))
    query = (
        select(*of, func.count().filter(col(ScoreRow.passed).is_(True)), func.count())
        .where(*where)
        .group_by(*of)
        .order_by(*of)
    )
    return [
        Rate(service=name, release=release, scorer=scorer, passed=passed, scored=scored)
        for name, release, scorer, passed, scored in await s.execute(query)
    ]
