"""The chain of the ledger: each entry's hash covers its content and the hash of the one before.

An entry that was changed, removed or put in later no longer fits its successor. Who can write the
store can also compute the whole chain anew; a head that was noted elsewhere, as `paddock ledger
verify` prints it, finds that, too. Pure but for `verify`. Imported by `storage.ledger`, by the
migration that began the chain, and by `app`.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

BEGINNING: Final = ""
"""What the first entry follows."""
CONTENT: Final = (
    "at_us", "actor", "verb", "noun", "key", "before", "after", "intent_id", "reason",
)  # fmt: skip
"""The columns that a hash covers, in this order."""
_COLUMNS: Final = f"id, {', '.join(CONTENT)}, hash"
_PAGE: Final = 2_000
_NOTED: Final = re.compile(r"([1-9][0-9]{0,15}):([0-9a-f]{64})")


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest entry of a ledger, 0 while it is empty, and its hash."""

    entry: int
    hash: str

    @property
    def words(self) -> str:
        """As it is noted elsewhere: the entry, a colon, the hash."""
        return f"{self.entry}:{self.hash}"


def head(noted: str) -> Head | None:
    """A head as it was noted; None if it is none."""
    found = _NOTED.fullmatch(noted.strip().lower())
    return None if found is None else Head(entry=int(found[1]), hash=found[2])


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found: how many entries, the head, and the first that does not fit.

    `broken` is the number of that entry and `why` what is wrong; None and empty where all fit.
    """

    entries: int
    head: Head
    broken: int | None = None
    why: str = ""


def link(before: str, content: tuple[Any, ...]) -> str:
    """The hash of an entry, as SHA-256 in hex, from the hash before it and its columns."""
    return hashlib.sha256(msgspec.json.encode([before, *content])).hexdigest()


async def verify(s: AsyncSession, noted: Head | None = None) -> Verdict:
    """Compute the chain from its beginning, page by page, and hold it against what is stored.

    `noted` is a head of an earlier day; the entry has to be there, with that hash.
    """
    last, entry, count = BEGINNING, 0, 0
    while True:
        query = text(f"SELECT {_COLUMNS} FROM ledger WHERE id > :after ORDER BY id LIMIT {_PAGE}")  # noqa: S608
        rows = list(await s.execute(query, {"after": entry}))
        for row in rows:
            head = Head(entry=entry, hash=last)
            if row.id != entry + 1:
                return _broken(count, head, entry + 1, "it is not there")
            if row.hash != link(last, tuple(row[1:-1])):
                said = "it, or an entry before it, is not as it was written"
                return _broken(count, head, row.id, said)
            if noted is not None and noted.entry == row.id and noted.hash != row.hash:
                return _broken(count, head, row.id, "its hash is not the one that was noted")
            last, entry, count = row.hash, row.id, count + 1
        if len(rows) < _PAGE:
            break
    head = Head(entry=entry, hash=last)
    written = (
        await s.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'ledger'"))
    ).scalar()
    if (written or 0) > entry:
        return _broken(count, head, entry + 1, "it was written and is not there")
    if noted is not None and noted.entry > entry:
        return _broken(count, head, entry + 1, f"entry {noted.entry} was noted and is not there")
    return Verdict(entries=count, head=head)


def _broken(count: int, head: Head, entry: int, why: str) -> Verdict:
    return Verdict(entries=count, head=head, broken=entry, why=why)
