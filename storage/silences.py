"""Silences: alerts without notifications for a while, by whom and why; every one has an end.

A maintenance window is a silence for planned work: alerts within it are marked as such. Silenced
alerts still fire and are listed. Written by control, read by every package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import alert_matchers, errors, ledger

MOST_S: Final = 30 * 24 * 3600
"""The longest silence, and how far ahead one may be planned."""
PLANNED: Final = "planned"
"""What a maintenance window that a person planned has as its `maintenance`."""

_SECOND_US: Final = 1_000_000


class SilenceRow(SQLModel, table=True):
    """A silence as it is stored; its matchers are JSON."""

    __tablename__: ClassVar[str] = "silences"

    id: int | None = Field(default=None, primary_key=True)
    matchers: str
    starts_at_us: int
    ends_at_us: int
    comment: str
    maintenance: str | None
    created_at_us: int
    created_by: str
    intent_id: int | None
    ended_at_us: int | None = None
    ended_by: str | None = None


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """One silence; all of its matchers have to fit an alert.

    `maintenance` is given for a maintenance window: PLANNED, or what opened it. `ended_by` ended
    it before its end.
    """

    id: int
    matchers: tuple[str, ...]
    starts_at_us: int
    ends_at_us: int
    comment: str
    maintenance: str | None
    created_at_us: int
    created_by: str
    ended_at_us: int | None
    ended_by: str | None

    def holds(self, now_us: int) -> bool:
        """Whether it is in force; once begun it is, though the clock may be set back."""
        begun = self.starts_at_us <= max(now_us, self.created_at_us)
        return self.ended_at_us is None and begun and now_us < self.ends_at_us

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether it is about an alert with these labels."""
        return alert_matchers.fit(self.matchers, labels)

    @property
    def words(self) -> str:
        """Its matchers, in one line."""
        return " ".join(self.matchers)

    @property
    def noun(self) -> str:
        """What it is called: silence, or window."""
        return "silence" if self.maintenance is None else "window"


async def add(
    s: AsyncSession,
    *,
    matchers: Iterable[str],
    starts_at_us: int,
    ends_at_us: int,
    comment: str,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    maintenance: str | None = None,
) -> Silence:
    """Silence the alerts that matchers fit until an end.

    Raises:
        Invalid: it has no end within 30 days, or would silence everything.
    """
    checked = alert_matchers.check(matchers)
    if not alert_matchers.narrows(checked):
        raise errors.Invalid("A silence of everything hides everything; name what to silence.")
    if not max(starts_at_us, at_us) < ends_at_us <= starts_at_us + MOST_S * _SECOND_US:
        raise errors.Invalid("A silence ends after it begins, and within 30 days.")
    if starts_at_us > at_us + MOST_S * _SECOND_US:
        raise errors.Invalid("A silence is planned at most 30 days ahead.")
    row = SilenceRow(
        matchers=msgspec.json.encode(checked).decode(),
        starts_at_us=starts_at_us,
        ends_at_us=ends_at_us,
        comment=comment,
        maintenance=maintenance,
        created_at_us=at_us,
        created_by=actor,
        intent_id=intent_id,
    )
    s.add(row)
    await s.flush()
    added = record(row)
    await ledger.write(
        s, actor=actor, verb="alerts.silence" if maintenance is None else "alerts.maintain",
        noun="silence", key=str(added.id), before=None,
        after=added.words, at_us=at_us, intent_id=intent_id, reason=comment,
    )  # fmt: skip
    return added


async def end(
    s: AsyncSession, id: int, *, actor: str, at_us: int, intent_id: int | None = None
) -> Silence:
    """End a silence before its end.

    Raises:
        NotFound: there is none of this number. Invalid: it is over.
    """
    row = await s.get(SilenceRow, id, populate_existing=True)
    if row is None:
        known = [str(each.id) for each in await lasting(s, at_us)]
        raise errors.unknown("silence", id, known)
    if row.ended_at_us is not None or row.ends_at_us <= at_us:
        raise errors.Invalid(f"Silence {id} is over already.")
    row.ended_at_us, row.ended_by = at_us, actor
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="alerts.unsilence", noun="silence", key=str(id),
        before=record(row).words, after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return record(row)


async def lasting(s: AsyncSession, now_us: int) -> list[Silence]:
    """Those in force and those to come, the next end first."""
    query = (
        select(SilenceRow)
        .where(col(SilenceRow.ends_at_us) > now_us, col(SilenceRow.ended_at_us).is_(None))
        .order_by(col(SilenceRow.ends_at_us), col(SilenceRow.id))
    )
    return [record(row) for row in await s.scalars(query)]


async def during(s: AsyncSession, begin_us: int, end_us: int, limit: int = 200) -> list[Silence]:
    """Those that were in force at some time of a range, `end_us` included, oldest first."""
    over = func.coalesce(col(SilenceRow.ended_at_us), col(SilenceRow.ends_at_us))
    query = (
        select(SilenceRow)
        .where(col(SilenceRow.starts_at_us) <= end_us, over > begin_us)
        .order_by(col(SilenceRow.starts_at_us), col(SilenceRow.id))
        .limit(limit)
    )
    return [record(row) for row in await s.scalars(query)]


async def past(s: AsyncSession, limit: int = 50) -> list[Silence]:
    """The newest silences, whether they are over or not, newest first."""
    query = select(SilenceRow).order_by(col(SilenceRow.id).desc()).limit(limit)
    return [record(row) for row in await s.scalars(query)]


async def prune(s: AsyncSession, before_us: int, limit: int = 2_000) -> int:
    """Delete at most `limit` silences that were over before a moment; how many."""
    over = func.coalesce(col(SilenceRow.ended_at_us), col(SilenceRow.ends_at_us))
    old = select(col(SilenceRow.id)).where(over < before_us).limit(limit)
    result = await s.execute(delete(SilenceRow).where(col(SilenceRow.id).in_(old)))
    return int(result.rowcount)  # type: ignore[attr-defined]


def of(silences: Sequence[Silence], labels: Mapping[str, str], now_us: int) -> Silence | None:
    """The silence of an alert that lasts longest; None while it is not silenced."""
    found = [each for each in silences if each.holds(now_us) and each.fits(labels)]
    return max(found, key=lambda each: each.ends_at_us, default=None)


def record(row: SilenceRow) -> Silence:
    """The silence of a row."""
    kept = {field: getattr(row, field) for field in Silence.__struct_fields__}
    kept["matchers"] = msgspec.json.decode(row.matchers, type=tuple[str, ...])
    return Silence(**kept)
