"""Freezing a service, and handing its split to a rollout or an A/B test and back.

Imported through `storage.services`, whose other half this is.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, ledger, service_rows
from storage.ownership import Owner
from storage.service_rows import Service, ServiceRow, find


async def freeze(
    s: AsyncSession, *, service: str, reason: str, actor: str, at_us: int, intent_id: int | None
) -> Service:
    """Keep the split of a service as it is until `unfreeze`; freezing again changes the reason."""
    before = await find(s, service)
    row = await s.get_one(ServiceRow, service)
    row.frozen_by, row.frozen_reason, row.frozen_at_us = actor, reason, at_us
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="services.freeze", noun="service", key=service,
        before=before.frozen and before.frozen.reason, after=reason, at_us=at_us,
        intent_id=intent_id,
    )  # fmt: skip
    return await find(s, service)


async def unfreeze(
    s: AsyncSession, *, service: str, actor: str, at_us: int, intent_id: int | None
) -> Service:
    """Allow changes of the split again."""
    before = await find(s, service)
    row = await s.get_one(ServiceRow, service)
    row.frozen_by = row.frozen_reason = row.frozen_at_us = None
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="services.unfreeze", noun="service", key=service,
        before=before.frozen and before.frozen.reason, after=None, at_us=at_us,
        intent_id=intent_id,
    )  # fmt: skip
    return await find(s, service)


async def take(
    s: AsyncSession, *, service: str, owner: Owner, actor: str, at_us: int,
    intent_id: int | None = None,
) -> None:  # fmt: skip
    """Make a rollout or an A/B test the owner of a split; nothing changes if it is.

    Raises:
        NotOwner: another one owns it. Frozen: the service is frozen.
    """
    before = await find(s, service)
    if before.owner == owner:
        return
    if before.frozen is not None:
        raise errors.Frozen(f"{service} is {before.frozen.words}; unfreeze it first.")
    if before.owner is not None:
        raise service_rows.owned(before, before.owner)
    await _own(s, service, owner, None, actor, at_us, intent_id)


async def give_back(
    s: AsyncSession, *, service: str, owner: Owner, actor: str, at_us: int,
    intent_id: int | None = None,
) -> None:  # fmt: skip
    """Let people set the split by hand again; nothing changes if this owner has lost it."""
    before = await find(s, service)
    if before.owner == owner:
        await _own(s, service, None, owner, actor, at_us, intent_id)


async def _own(
    s: AsyncSession,
    service: str,
    owner: Owner | None,
    before: Owner | None,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> None:
    row = await s.get_one(ServiceRow, service)
    row.owner_kind = None if owner is None else owner.kind.value
    row.owner_id = None if owner is None else owner.id
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="services.owner", noun="service", key=service,
        before=before and before.name, after=owner and owner.name, at_us=at_us,
        intent_id=intent_id,
    )  # fmt: skip
