"""The keys of the gateway that there were at a past moment. Imported by `app`."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, keys
from storage.keys import Key


async def every(s: AsyncSession, at_us: int) -> list[Key]:
    """The keys that had been created, as `keys.every` sorts them; later ends are left out."""
    return [
        each
        if each.revoked_at_us is None or each.revoked_at_us <= at_us
        else msgspec.structs.replace(each, revoked_at_us=None)
        for each in await keys.every(s)
        if each.created_at_us <= at_us
    ]


async def find(s: AsyncSession, name: str, at_us: int) -> Key:
    """By name or prefix: of several with a name the one in force, else the newest.

    Raises:
        NotFound: there was none of this name then.
    """
    found = await every(s, at_us)
    fitting = [key for key in found if name in {key.name, key.prefix}]
    if not fitting:
        raise errors.unknown("key", name, [each.name for each in found])
    return max(fitting, key=lambda key: (key.revoked_at_us is None, key.id))
