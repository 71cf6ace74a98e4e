"""Templates that killed the process that rendered them: not run again, even after a restart.

Identified by a hash of what is rendered, so that another version of a prompt, or another file of a
model, is tried anew. Written by the gateway, lifted by `engine.control`; read by every package.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger
from storage.store import insert_new

REASON_LIMIT: Final = 500


class Kind(StrEnum):
    """Whose template it is."""

    PROMPT = "prompt"
    MODEL = "model"


class QuarantineRow(SQLModel, table=True):
    """A template as it is stored."""

    __tablename__: ClassVar[str] = "quarantine"

    key: str = Field(primary_key=True)
    kind: str
    subject: str
    reason: str
    at_us: int


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One template: `key` is the SHA-256 of what is rendered, `subject` a version by its name.

    `reason` is a clause. A model has one for each context size with which it was served.
    """

    key: str
    kind: Kind
    subject: str
    reason: str
    at_us: int


async def add(
    s: AsyncSession, *, key: str, kind: Kind, subject: str, reason: str, at_us: int
) -> None:
    """Keep a template from being run; no change if it is known already."""
    row = {
        "key": key,
        "kind": kind.value,
        "subject": subject,
        "reason": reason[:REASON_LIMIT],
        "at_us": at_us,
    }
    if (
        await s.execute(select(col(QuarantineRow.key)).where(col(QuarantineRow.key) == key))
    ).first() is not None:
        return
    await insert_new(s, QuarantineRow, [row], key=("key",))
    await ledger.write(
        s, actor="gateway", verb="quarantine.add", noun="quarantine", key=subject,
        before=None, after=row["reason"], at_us=at_us,
    )  # fmt: skip


async def every(s: AsyncSession) -> list[Quarantined]:
    """All of them, oldest first."""
    query = select(QuarantineRow).order_by(col(QuarantineRow.at_us), col(QuarantineRow.key))
    return [
        msgspec.convert(row, Quarantined, from_attributes=True) for row in await s.scalars(query)
    ]


async def of(s: AsyncSession, kind: Kind, subject: str) -> list[Quarantined]:
    """Those of one version."""
    return [each for each in await every(s) if (each.kind, each.subject) == (kind, subject)]


async def lift(
    s: AsyncSession, subject: str, *, actor: str, at_us: int, intent_id: int | None = None
) -> list[Quarantined]:
    """Let the templates of a version be tried again; those that were kept from it.

    Raises:
        NotFound: none is quarantined.
    """
    found = [each for each in await every(s) if each.subject == subject]
    if not found:
        raise errors.NotFound(
            f"No template of {subject} is quarantined; `paddock quarantine list` shows which are."
        )
    await s.execute(delete(QuarantineRow).where(col(QuarantineRow.subject) == subject))
    await ledger.write(
        s, actor=actor, verb="quarantine.lift", noun="quarantine", key=subject,
        before=found[-1].reason, after=None, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return found
