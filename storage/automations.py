"""Runbooks that an operator lets start by themselves when their alert fires.

A row says who enabled which content of a runbook, and up to which event of alerts it was looked at.
Written by the runner, read by every package.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import alert_events, ledger

ACTOR = "automation"
"""The principal of automatic runs in the ledger, followed by the runbook's name."""


class AutomationRow(SQLModel, table=True):
    """The row of an enabled runbook."""

    __tablename__: ClassVar[str] = "automations"

    runbook: str = Field(primary_key=True)
    content: str
    enabled_by: str
    intent_id: int
    enabled_at_us: int
    event_id: int
    said: str | None = None
    said_at_us: int | None = None


class Automation(msgspec.Struct, frozen=True, kw_only=True):
    """An enabled runbook.

    `content` is the hash of what was enabled, `intent_id` the intent that did it. `event_id` is the
    last event of alerts that was looked at, `said` what was decided about the last that fired.
    """

    runbook: str
    content: str
    enabled_by: str
    intent_id: int
    enabled_at_us: int
    event_id: int
    said: str | None
    said_at_us: int | None


def actor(runbook: str) -> str:
    """The principal that starts a runbook by itself."""
    return f"{ACTOR} {runbook}"


async def enable(
    s: AsyncSession, runbook: str, content: str, *, by: str, intent_id: int, at_us: int
) -> None:
    """Let a runbook start by itself from now on, as it is now; again: as it is now."""
    row = AutomationRow(
        runbook=runbook,
        content=content,
        enabled_by=by,
        intent_id=intent_id,
        enabled_at_us=at_us,
        event_id=await alert_events.newest(s),
    )
    before = await s.get(AutomationRow, runbook)
    await s.merge(row)
    await s.flush()
    await ledger.write(
        s, actor=by, verb="runbooks.automate", noun="automation", key=runbook,
        before=before and before.content, after=content, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip


async def disable(s: AsyncSession, runbook: str, *, by: str, intent_id: int, at_us: int) -> bool:
    """Let a runbook no longer start by itself; False if it was not enabled."""
    row = await s.get(AutomationRow, runbook)
    if row is None:
        return False
    await ledger.write(
        s, actor=by, verb="runbooks.automate", noun="automation", key=runbook,
        before=row.content, after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    await s.delete(row)
    await s.flush()
    return True


async def looked(
    s: AsyncSession, runbook: str, event_id: int, *, said: str | None = None, at_us: int
) -> None:
    """Record up to which event it was looked at, and what was decided."""
    row = await s.get(AutomationRow, runbook)
    if row is not None:
        row.event_id = event_id
        if said is not None:
            row.said, row.said_at_us = said, at_us
        await s.flush()


async def every(s: AsyncSession) -> list[Automation]:
    """All enabled runbooks, by name."""
    query = select(AutomationRow).order_by(col(AutomationRow.runbook))
    found = await s.scalars(query.execution_options(populate_existing=True))
    return [msgspec.convert(row, Automation, from_attributes=True) for row in found]
