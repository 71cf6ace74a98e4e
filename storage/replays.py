"""Replays: recorded requests that are asked again, on a release that users need not have seen.

A REQUEST replay asks one request on one release, a SAMPLE many of a service's; a BISECTION one
request on several releases, to find the one that changed its answer. The work is a job's
(`replay`); this is what was asked for and what came out. While the job is open, `holds` is a
release that has to be loaded, although no split names it. Read by every package.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, jobs, ledger, replay_items


class Kind(StrEnum):
    """What is asked on what."""

    REQUEST = "request"
    SAMPLE = "sample"
    BISECTION = "bisection"


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both sides, over the same `n` items, and by how much they differ.

    `effect` and its bounds, each at 95 %, are a share: of the items for `same` and `failed`, of the
    recorded value for others. A bound is None where there are too few items to tell.
    """

    name: str
    n: int
    before: float
    after: float
    effect: float
    low: float | None
    high: float | None
    grade: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found; `metrics` compare the items that both sides answered, except `failed`.

    `finishes` are (reason, recorded, replayed); `differing` are (request, F1), the most different
    first. `culprit` is the first release of a bisection with the other answer, `good` the last one
    before it, `differences` what distinguishes the two: (field, before, after).
    """

    sentence: str
    asked: int = 0
    same: int = 0
    metrics: tuple[Metric, ...] = ()
    finishes: tuple[tuple[str, int, int], ...] = ()
    failures: tuple[tuple[str, int, int], ...] = ()
    differing: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    good: int | None = None
    culprit: int | None = None
    differences: tuple[tuple[str, str | None, str | None], ...] = ()


class ReplayRow(SQLModel, table=True):
    """A replay as it is stored; releases and report are JSON."""

    __tablename__: ClassVar[str] = "replays"

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    service: str
    releases: str
    since_us: int | None
    sample: int
    expected: str | None
    holds: int | None
    job_id: int | None
    report: str | None
    asked_at_us: int
    asked_by: str
    intent_id: int | None
    ended_at_us: int | None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """One replay. `releases` are those to ask, for a bisection from the oldest to the newest.

    `sample` is the number of requests that were wanted; `since_us` bounds their arrival. `expected`
    is the answer that a bisection takes as the good one, None: that of the oldest release.
    """

    id: int
    kind: Kind
    service: str
    releases: tuple[int, ...]
    since_us: int | None
    sample: int
    expected: str | None
    holds: int | None
    job_id: int
    report: Report | None
    asked_at_us: int
    asked_by: str
    intent_id: int | None
    ended_at_us: int | None


async def add(
    s: AsyncSession,
    *,
    kind: Kind,
    service: str,
    releases: Sequence[int],
    sample: int,
    since_us: int | None = None,
    expected: str | None = None,
    skipped: Sequence[str] = (),
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> Replay:
    """Add a replay together with its job, which ends the intent.

    The first release is held. `skipped` are sentences on releases that cannot be asked.
    """
    row = ReplayRow(
        kind=kind.value,
        service=service,
        releases=msgspec.json.encode(tuple(releases)).decode(),
        since_us=since_us,
        sample=sample,
        expected=expected,
        holds=releases[0],
        job_id=None,
        report=None,
        asked_at_us=at_us,
        asked_by=actor,
        intent_id=intent_id,
        ended_at_us=None,
    )
    s.add(row)
    await s.flush()
    on = ", ".join(f"r{number}" for number in releases)
    job = await jobs.add(
        s,
        kind="replay",
        target=f"{service} on {on}",
        arguments={"replay": row.id, "skipped": list(skipped)},
        actor=actor,
        at_us=at_us,
        intent_id=intent_id,
        max_failures=10,
    )
    row.job_id = job.id
    await s.flush()
    return _replay(row)


async def hold(s: AsyncSession, replay: Replay, release: int, *, at_us: int) -> None:
    """Have another release loaded from now on, in place of the one before."""
    await _change(s, replay.id, holds=release)
    await ledger.write(
        s, actor=jobs.CLAIMER, verb="replays.hold", noun="replay", key=str(replay.id),
        before=replay.holds and f"r{replay.holds}", after=f"r{release}", at_us=at_us,
        intent_id=replay.intent_id,
    )  # fmt: skip


async def end(s: AsyncSession, replay: Replay, report: Report, *, at_us: int) -> None:
    """Keep what was found; nothing is held any more."""
    await _change(
        s, replay.id, holds=None, report=msgspec.json.encode(report).decode(), ended_at_us=at_us
    )
    await ledger.write(
        s, actor=jobs.CLAIMER, verb="replays.end", noun="replay", key=str(replay.id),
        before=None, after=report.sentence, at_us=at_us, intent_id=replay.intent_id,
    )  # fmt: skip


async def find(s: AsyncSession, id: int) -> Replay:
    """By its number.

    Raises:
        NotFound: there is no such replay; the message lists the newest.
    """
    row = await s.get(ReplayRow, id, populate_existing=True)
    if row is None:
        raise errors.unknown("replay", id, [str(each.id) for each in await tail(s, 12)])
    return _replay(row)


async def of_intent(s: AsyncSession, intent_id: int) -> Replay | None:
    """The replay that an intent asked for, if it did."""
    row = (await s.scalars(select(ReplayRow).where(col(ReplayRow.intent_id) == intent_id))).first()
    return None if row is None else _replay(row)


async def tail(s: AsyncSession, limit: int = 100) -> list[Replay]:
    """The newest replays, newest first."""
    rows = await s.scalars(select(ReplayRow).order_by(col(ReplayRow.id).desc()).limit(limit))
    return [_replay(row) for row in rows]


async def held(s: AsyncSession) -> frozenset[int]:
    """The releases that open replays need loaded."""
    open_ = [state.value for state in jobs.OPEN]
    query = select(col(ReplayRow.holds)).join(
        jobs.JobRow, col(jobs.JobRow.id) == col(ReplayRow.job_id)
    )
    query = query.where(col(jobs.JobRow.state).in_(open_), col(ReplayRow.ended_at_us).is_(None))
    return frozenset(number for number in await s.scalars(query) if number is not None)


async def prune(s: AsyncSession, before_us: int, limit: int = 100) -> int:
    """Delete at most `limit` replays that were asked for before a moment, if their jobs are gone.

    Returns how many; call it until it is 0.
    """
    query = (
        select(col(ReplayRow.id))
        .outerjoin(jobs.JobRow, col(jobs.JobRow.id) == col(ReplayRow.job_id))
        .where(col(ReplayRow.asked_at_us) < before_us, col(jobs.JobRow.id).is_(None))
        .limit(limit)
    )
    ids = [id for id in await s.scalars(query) if id is not None]
    await replay_items.remove(s, ids)
    await s.execute(delete(ReplayRow).where(col(ReplayRow.id).in_(ids)))
    return len(ids)


async def _change(s: AsyncSession, id: int, **values: object) -> None:
    await s.execute(
        update(ReplayRow)
        .where(col(ReplayRow.id) == id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def _replay(row: ReplayRow) -> Replay:
    return Replay(
        id=row.id or 0,
        kind=Kind(row.kind),
        service=row.service,
        releases=msgspec.json.decode(row.releases, type=tuple[int, ...]),
        since_us=row.since_us,
        sample=row.sample,
        expected=row.expected,
        holds=row.holds,
        job_id=row.job_id or 0,
        report=None if row.report is None else msgspec.json.decode(row.report, type=Report),
        asked_at_us=row.asked_at_us,
        asked_by=row.asked_by,
        intent_id=row.intent_id,
        ended_at_us=row.ended_at_us,
    )
