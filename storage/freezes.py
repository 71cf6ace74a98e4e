"""Freezes: who forbade changes of what answers requests, of one service or of the whole box.

The freeze of a service is in its row, that of the box here; `storage.services` refuses by either,
and always allows going back. Imported by `storage.service_rows`, and read by every package.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel

from storage import ledger

ONLY: Final = 1
"""The key of the only row: the box is frozen once or not at all."""


class BoxFreezeRow(SQLModel, table=True):
    """The freeze of the box as it is stored; without a row the box is not frozen."""

    __tablename__: ClassVar[str] = "box_freeze"

    id: int = Field(primary_key=True)
    frozen_by: str
    reason: str
    frozen_at_us: int

    @property
    def freeze(self) -> Freeze:
        """As other modules read it."""
        return Freeze(by=self.frozen_by, reason=self.reason, at_us=self.frozen_at_us, box=True)


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """Who froze a service, or with `box` the whole box, why and when."""

    by: str
    reason: str
    at_us: int
    box: bool = False

    @property
    def words(self) -> str:
        """In a sentence: frozen by kim since 2026-01-31 12:00 UTC: an incident."""
        at = datetime.fromtimestamp(self.at_us // 1_000_000, UTC)
        how = "frozen with the whole box" if self.box else "frozen"
        return f"{how} by {self.by} since {at:%Y-%m-%d %H:%M} UTC: {self.reason}"

    def command(self, service: str) -> str:
        """What allows changes of a service again."""
        return "`paddock unfreeze`" if self.box else f"`paddock services unfreeze {service}`"


async def of_box(s: AsyncSession) -> Freeze | None:
    """The freeze of the whole box; None while it is not frozen."""
    row = await s.get(BoxFreezeRow, ONLY, populate_existing=True)
    return None if row is None else row.freeze


async def freeze_box(
    s: AsyncSession, *, reason: str, actor: str, at_us: int, intent_id: int | None
) -> None:
    """Forbid changes on the whole box until `unfreeze_box`; again changes the reason."""
    before = await of_box(s)
    await s.merge(BoxFreezeRow(id=ONLY, frozen_by=actor, reason=reason, frozen_at_us=at_us))
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="box.freeze", noun="box", key="box",
        before=before and before.reason, after=reason, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip


async def unfreeze_box(
    s: AsyncSession, *, actor: str, at_us: int, intent_id: int | None
) -> Freeze | None:
    """Allow changes again; the freeze that ended, None if there was none."""
    before = await of_box(s)
    if before is None:
        return None
    await s.delete(await s.get_one(BoxFreezeRow, ONLY))
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="box.unfreeze", noun="box", key="box", before=before.reason,
        after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return before
