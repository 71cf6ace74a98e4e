"""The rows of alerts, as records, and how they are found.

Imported by `storage.alerts`, which changes them, and through it by every package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors
from storage.alert_rules import Severity
from storage.alert_states import State, Why

_ORDER: Final = {severity: number for number, severity in enumerate(Severity)}


class AlertRow(SQLModel, table=True):
    """An alert as it is stored; its labels are JSON."""

    __tablename__: ClassVar[str] = "alerts"

    id: int | None = Field(default=None, primary_key=True)
    rule: str
    rule_version: int
    fingerprint: str
    labels: str
    severity: str
    summary: str
    runbook: str | None
    state: str
    why: str
    value: float | None
    began_at_us: int
    began_clock_us: int
    fired_at_us: int | None = None
    unmet_clock_us: int | None = None
    no_data_since_us: int | None = None
    ended_at_us: int | None = None
    acknowledged_at_us: int | None = None
    acknowledged_by: str | None = None
    acknowledged_reason: str | None = None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert.

    `labels` are those of the element, of the rule, `alertname` and `severity`. `value` is the last
    that was measured. `began_clock_us` is when the expression began to hold, and `unmet_clock_us`
    since when it has not held while the alert is kept firing, on the clock of evaluations.
    `no_data_since_us` is given for a firing alert of which nothing is measured.
    """

    id: int
    rule: str
    rule_version: int
    fingerprint: str
    labels: dict[str, str]
    severity: Severity
    summary: str
    runbook: str | None
    state: State
    why: Why
    value: float | None
    began_at_us: int
    began_clock_us: int
    fired_at_us: int | None
    unmet_clock_us: int | None
    no_data_since_us: int | None
    ended_at_us: int | None
    acknowledged_at_us: int | None
    acknowledged_by: str | None
    acknowledged_reason: str | None

    @property
    def about(self) -> dict[str, str]:
        """The labels that say what it is about: without its name and severity."""
        return {k: v for k, v in self.labels.items() if k not in {"alertname", "severity"}}

    @property
    def subject(self) -> str:
        """What it is about, in a word or two: the values of those labels."""
        return " ".join(value for _, value in sorted(self.about.items()))


def fingerprint(labels: Mapping[str, str]) -> str:
    """A name for a set of labels, the same everywhere."""
    packed = msgspec.json.encode(sorted(labels.items()))
    return hashlib.sha256(packed).hexdigest()[:16]


async def find(s: AsyncSession, alert_id: int) -> Alert:
    """One alert.

    Raises:
        NotFound: there is none of this number.
    """
    row = await s.get(AlertRow, alert_id, populate_existing=True)
    if row is None:
        raise errors.unknown("alert", alert_id, [str(each.id) for each in await active(s)])
    return record(row)


async def active(s: AsyncSession) -> list[Alert]:
    """The pending and firing alerts: firing first, the worst first, then the oldest."""
    query = select(AlertRow).where(col(AlertRow.ended_at_us).is_(None))
    found = [record(row) for row in await s.scalars(query)]
    return sorted(
        found, key=lambda each: (each.state is not State.FIRING, _ORDER[each.severity], each.id)
    )


async def ended(s: AsyncSession, *, limit: int = 20, fired: bool = True) -> list[Alert]:
    """The alerts that ended last, newest first; with `fired` only those that ever fired."""
    query = select(AlertRow).where(col(AlertRow.ended_at_us).is_not(None))
    if fired:
        query = query.where(col(AlertRow.fired_at_us).is_not(None))
    query = query.order_by(col(AlertRow.ended_at_us).desc(), col(AlertRow.id).desc()).limit(limit)
    return [record(row) for row in await s.scalars(query)]


async def during(
    s: AsyncSession, begin_us: int, end_us: int, *, after: int = 0, limit: int = 1_000
) -> list[Alert]:
    """The first alerts after a number that were active in a range, `end_us` excluded."""
    ended = col(AlertRow.ended_at_us)
    query = select(AlertRow).where(
        col(AlertRow.id) > after,
        col(AlertRow.began_at_us) < end_us,
        ended.is_(None) | (ended >= begin_us),
    )
    return [record(row) for row in await s.scalars(query.order_by(col(AlertRow.id)).limit(limit))]


async def of_ids(s: AsyncSession, ids: Iterable[int]) -> dict[int, Alert]:
    """Some alerts, by their numbers."""
    query = select(AlertRow).where(col(AlertRow.id).in_(list(ids)))
    return {row.id or 0: record(row) for row in await s.scalars(query)}


def record(row: AlertRow) -> Alert:
    """The alert of a row."""
    kept: dict[str, Any] = {field: getattr(row, field) for field in Alert.__struct_fields__}
    kept["labels"] = msgspec.json.decode(row.labels, type=dict[str, str])
    kept["why"] = Why[row.why]
    return msgspec.convert(kept, Alert)
