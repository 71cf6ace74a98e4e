"""Deployments with the replicas and the status that they had at a past moment.

Imported by `app`.
"""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import deployments
from storage.deployments import Deployment, Status
from storage.past import entries


async def every(s: AsyncSession, at_us: int) -> list[Deployment]:
    """The deployments that there were, by name."""
    scaled = await entries.following(s, "deployment", at_us, ["deployments.scale"])
    moved = await entries.following(
        s, "deployment", at_us, [Status.FAILING.value, "deployments.restart", Status.ACTIVE.value]
    )
    why = await entries.last(s, "deployment", at_us, verbs=[Status.FAILING.value])
    reasons = {entry.key: entry.reason for entry in why}
    found = []
    for each in await deployments.every(s):
        if each.created_at_us > at_us:
            continue
        status = each.status if each.name not in moved else Status(moved[each.name].before)
        found.append(
            msgspec.structs.replace(
                each,
                replicas=scaled[each.name].before if each.name in scaled else each.replicas,
                status=status,
                status_reason=reasons.get(each.name) if status is Status.FAILING else None,
            )
        )
    return found


async def resolve(s: AsyncSession, name: str, at_us: int) -> Deployment:
    """By its name, or by the beginning of exactly one name.

    Raises:
        NotFound: there was none then, or several begin so.
    """
    return deployments.called(name, await every(s, at_us))
