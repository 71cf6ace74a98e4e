"""The templates that were not run at a past moment, by the ledger. Imported by `app`."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from storage.past import entries
from storage.quarantine import Kind, Quarantined


async def every(s: AsyncSession, at_us: int) -> list[Quarantined]:
    """All of them, oldest first; the hashes of templates are not recorded and empty."""
    lifted = {
        entry.key: entry.id
        for entry in await entries.last(s, "quarantine", at_us, verbs=["quarantine.lift"])
    }
    return [
        Quarantined(
            key="",
            kind=_kind(entry.key),
            subject=entry.key,
            reason=str(entry.after),
            at_us=entry.at_us,
        )
        for entry in await entries.every(s, "quarantine", at_us, "quarantine.add")
        if entry.id > lifted.get(entry.key, 0)
    ]


def _kind(subject: str) -> Kind:
    """Prompt versions are numbered, as in terse@3; model versions are semantic: ops@1.0.0."""
    return Kind.MODEL if "." in subject.rpartition("@")[2] else Kind.PROMPT
