"""The upstreams that there were at a past moment, by the ledger; whether they answered is unknown.

Where an upstream has a key, its `secret` is empty: the ledger does not say where that was.
Imported by `app`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import unknown_names
from storage.ledger import Entry
from storage.past import entries
from storage.upstreams import Upstream


async def every(s: AsyncSession, at_us: int) -> list[Upstream]:
    """The upstreams at that moment, by name."""
    found = [
        _upstream(entry)
        for entry in await entries.last(s, "upstream", at_us)
        if entry.after is not None
    ]
    return sorted(found, key=lambda each: each.name)


async def find(s: AsyncSession, name: str, at_us: int) -> Upstream:
    """One upstream.

    Raises:
        NotFound: there was none of this name then.
    """
    return unknown_names.named("upstream", name, await every(s, at_us))


def _upstream(entry: Entry) -> Upstream:
    older: dict[str, Any] = {"metrics_path": None, "extensions": True, "scores": None}
    known = older | dict(entry.after)
    known["secret"] = "" if known.pop("has_key", False) else None
    return msgspec.convert(known, Upstream)
