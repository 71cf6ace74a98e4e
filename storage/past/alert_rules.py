"""The alert rules that were in force at a past moment. Imported by `app`.

Shipped rules are those of this version of Paddock: what an earlier version shipped is not recorded.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from storage import alert_rule_versions, errors
from storage.alert_rule_versions import Versioned


async def in_force(s: AsyncSession, at_us: int) -> dict[str, Versioned]:
    """The rules that were evaluated, by name."""
    found = {}
    for name in await alert_rule_versions.current(s):
        known = await _history(s, name, at_us)
        if known and known[-1].rule is not None:
            found[name] = known[-1]
    return found


async def history(s: AsyncSession, name: str, at_us: int) -> list[Versioned]:
    """The versions of a rule up to a moment, oldest first.

    Raises:
        NotFound: there is no such rule, or there was none yet.
    """
    await alert_rule_versions.find(s, name)
    found = await _history(s, name, at_us)
    if not found:
        raise errors.NotFound(f"There was no alert rule {name} then.")
    return found


async def _history(s: AsyncSession, name: str, at_us: int) -> list[Versioned]:
    return [
        each
        for each in await alert_rule_versions.history(s, name)
        if each.created_at_us is None or each.created_at_us <= at_us
    ]
