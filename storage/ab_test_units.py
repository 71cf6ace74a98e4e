"""The units that an A/B test exposed: which arm each saw first, when, and how it is counted.

A unit is a user, a session, or a request that names neither. It is kept as a keyed hash that no
other test shares, made by the gateway with a secret that is not in the store. A unit belongs to the
arm that answered it first and counts once: by its first executed request, and by its first rating.
At most `MOST_UNITS` are kept for a test, which then ends. Never judges. Written by
`engine.control`, read by every package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import ab_test_evidence, ab_tests, online_scores, requests, rollout_guards
from storage.ab_test_evidence import Evidence
from storage.ab_test_rows import AbTestRow
from storage.ab_tests import AbTest
from storage.feedback import FeedbackRow
from storage.online_scores import Rate
from storage.requests import Class, Outcome, RequestRow
from storage.store import upsert

MOST_UNITS: Final = 200_000
BATCH: Final = 2_000
"""Requests, and ratings, that one look reads at most."""


class UnitRow(SQLModel, table=True):
    """A unit as it is stored; what it did not do is None."""

    __tablename__: ClassVar[str] = "ab_test_units"

    ab_test_id: int = Field(primary_key=True)
    unit: str = Field(primary_key=True)
    release: int
    at_us: int
    failed: bool | None = None
    latency_us: int | None = None
    ttft_us: int | None = None
    answer_tokens: int | None = None
    compute_us: int | None = None
    score: int | None = None
    correct: bool | None = None


class Exposed(msgspec.Struct, frozen=True, kw_only=True):
    """A unit, the arm that it saw first, and when that answered.

    `failed` and the measurements are of its first executed request; the measurements are None if
    that failed. `score` (1 or -1) and `correct` are what it rated first.
    """

    unit: str
    release: int
    at_us: int
    failed: bool | None = None
    latency_us: int | None = None
    ttft_us: int | None = None
    answer_tokens: int | None = None
    compute_us: int | None = None
    score: int | None = None
    correct: bool | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a test that has ended."""

    number: int
    unit: str
    release: int
    at_us: int
    outcome: Outcome
    latency_us: int
    ttft_us: int | None
    answer_tokens: int
    compute_us: int

    @property
    def executed(self) -> bool:
        """Whether a release executed it: what clients cancelled, or the box refused, is not."""
        return self.outcome in {Outcome.OK, Outcome.FAILED}


class Rated(msgspec.Struct, frozen=True, kw_only=True):
    """A rating of an answer of a test."""

    number: int
    unit: str
    release: int
    score: int
    correct: bool | None


class Fresh(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded since the last look, and what is known of its units already.

    `last_rating` is the newest rating that was looked for, of whichever request. `more`: there is
    so much that the next look should follow at once. `scores` are the new online scores of requests
    in the test, up to request `scored`; none where no guard counts them.
    """

    requests: tuple[Seen, ...] = ()
    ratings: tuple[Rated, ...] = ()
    last_rating: int = 0
    known: Mapping[str, Exposed] = msgspec.field(default_factory=dict)
    more: bool = False
    scored: int = 0
    scores: tuple[Rate, ...] = ()


async def newest(s: AsyncSession) -> tuple[int, int]:
    """The numbers of the newest request and the newest rating; 0 before the first."""
    request = await requests.last(s)
    rating = (await s.execute(select(func.max(col(FeedbackRow.id))))).scalar() or 0
    return request, rating


async def stored(s: AsyncSession, ab_test_id: int) -> Evidence:
    """The counts as the last look left them."""
    row = await s.get_one(AbTestRow, ab_test_id, populate_existing=True)
    return ab_test_evidence.decode(row.evidence)


async def fresh(s: AsyncSession, ab_test_id: int, evidence: Evidence, limit: int = BATCH) -> Fresh:
    """What was recorded since `evidence`, in the order of recording; nothing is written."""
    query = (
        select(RequestRow)
        .where(
            col(RequestRow.ab_test) == ab_test_id,
            col(RequestRow.number) > evidence.request,
            col(RequestRow.class_) != Class.BACKGROUND.value,
        )
        .order_by(col(RequestRow.number))
        .limit(limit)
    )
    seen = tuple([_seen(row) for row in await s.scalars(query)])
    more = len(seen) == limit
    rated: tuple[Rated, ...] = ()
    last = evidence.rating
    if not more:  # a rating follows its request, whose unit has to be known
        rated = await _rated(s, ab_test_id, evidence.rating, limit)
        more = len(rated) == limit
        last = rated[-1].number if more else (await newest(s))[1]
    units = {each.unit for each in seen} | {each.unit for each in rated}
    return Fresh(
        requests=seen, ratings=rated, last_rating=last,
        known=await _known(s, ab_test_id, units), more=more,
    )  # fmt: skip


async def with_scores(s: AsyncSession, test: AbTest, evidence: Evidence, found: Fresh) -> Fresh:
    """The same with the online scores, where a guard counts them and there are new ones."""
    if not any(guard.measure in rollout_guards.SCORED for guard in test.guards):
        return found
    scoring = await online_scores.find(s, test.service)
    if scoring is None or scoring.cursor <= evidence.scored:
        return found
    scores = await online_scores.rates_after(
        s, test.service, evidence.scored, scoring.cursor, ab_test=test.id
    )
    return msgspec.structs.replace(found, scored=scoring.cursor, scores=tuple(scores))


async def record(
    s: AsyncSession, ab_test_id: int, units: Iterable[Exposed], evidence: Evidence
) -> None:
    """Keep new and changed units, and the counts from which the next look continues."""
    rows = [{"ab_test_id": ab_test_id, **msgspec.structs.asdict(unit)} for unit in units]
    for at in range(0, len(rows), 500):
        await upsert(s, UnitRow, rows[at : at + 500], key=("ab_test_id", "unit"))
    await ab_tests.change(s, ab_test_id, evidence=ab_test_evidence.encode(evidence))
    await s.flush()


async def values(s: AsyncSession, ab_test_id: int, column: str) -> dict[int, list[int]]:
    """All measurements of one kind, by release, in no order; `column` is one of `Exposed`."""
    wanted = col(getattr(UnitRow, column))
    query = select(col(UnitRow.release), wanted).where(
        col(UnitRow.ab_test_id) == ab_test_id, wanted.is_not(None)
    )
    found: dict[int, list[int]] = {}
    for release, value in await s.execute(query):
        found.setdefault(release, []).append(value)
    return found


async def log(
    s: AsyncSession, ab_test_id: int, limit: int = 1_000, *, after: str = "",
    until_us: int | None = None,
) -> list[Exposed]:  # fmt: skip
    """The exposure log in the order of the hashes: from behind `after`, up to a moment."""
    query = (
        select(UnitRow)
        .where(col(UnitRow.ab_test_id) == ab_test_id, col(UnitRow.unit) > after)
        .order_by(col(UnitRow.unit))
        .limit(limit)
    )
    if until_us is not None:
        query = query.where(col(UnitRow.at_us) <= until_us)
    return [_exposed(row) for row in await s.scalars(query)]


async def prune(s: AsyncSession, before_us: int, limit: int = 2_000) -> int:
    """Delete at most `limit` units of tests that ended before a moment; returns how many.

    Units of a test that has not ended stay: each of them counts once. Call it until it is 0.
    """
    ended = select(col(AbTestRow.id)).where(col(AbTestRow.ended_at_us) < before_us)
    key = tuple_(col(UnitRow.ab_test_id), col(UnitRow.unit))
    old = (
        select(col(UnitRow.ab_test_id), col(UnitRow.unit))
        .where(col(UnitRow.ab_test_id).in_(ended))
        .limit(limit)
    )
    gone = await s.execute(delete(UnitRow).where(key.in_(old)))
    return int(gone.rowcount)  # type: ignore[attr-defined]


async def _rated(s: AsyncSession, ab_test_id: int, after: int, limit: int) -> tuple[Rated, ...]:
    query = (  # by the ratings: `+ 0` keeps SQLite from reading all requests of the test
        select(FeedbackRow, RequestRow)
        .join(RequestRow, col(RequestRow.id) == col(FeedbackRow.request_id))
        .where(col(FeedbackRow.id) > after, col(RequestRow.ab_test) + 0 == ab_test_id)
        .order_by(col(FeedbackRow.id))
        .limit(limit)
    )
    return tuple(
        [
            Rated(
                number=rating.id or 0, unit=request.unit or "", release=request.release or 0,
                score=rating.score, correct=rating.correct,
            )
            for rating, request in await s.execute(query)
        ]
    )  # fmt: skip


async def _known(s: AsyncSession, ab_test_id: int, units: Iterable[str]) -> dict[str, Exposed]:
    found: dict[str, Exposed] = {}
    wanted = sorted(units)
    for at in range(0, len(wanted), 500):
        part: Sequence[str] = wanted[at : at + 500]
        query = select(UnitRow).where(
            col(UnitRow.ab_test_id) == ab_test_id, col(UnitRow.unit).in_(part)
        )
        for row in await s.scalars(query.execution_options(populate_existing=True)):
            found[row.unit] = _exposed(row)
    return found


def _seen(row: RequestRow) -> Seen:
    return Seen(
        number=row.number or 0,
        unit=row.unit or "",
        release=row.release or 0,
        at_us=row.at_us,
        outcome=Outcome(row.outcome),
        latency_us=row.latency_us,
        ttft_us=row.ttft_us,
        answer_tokens=row.completion_tokens,
        compute_us=row.busy_us,
    )


def _exposed(row: UnitRow) -> Exposed:
    values: dict[str, Any] = {name: getattr(row, name) for name in Exposed.__struct_fields__}
    return Exposed(**values)
