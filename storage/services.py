"""Services: the names that clients put into `model`, with the split of their traffic.

A service points at its current split; `version` grows with each split, and an intent names the
version it expects. A split has an owner: people set it by hand, or a rollout or an A/B test does
until it gives it back. A frozen service keeps its split until it is unfrozen; going back to an
earlier split is always allowed. Read by every package, written by `engine.control`.
"""

from __future__ import annotations

import secrets

from sqlalchemy.ext.asyncio import AsyncSession

from storage import (
    errors,
    freezes,
    ledger,
    names,
    service_rows,
    split_history,
    splits,
    sticky_buckets,
)
from storage.freezes import Freeze
from storage.service_rows import (
    Owner,
    OwnerKind,
    Service,
    ServiceRow,
    every,
    find,
    look_up,
    named_releases,
    owned,
    switched,
)
from storage.service_settings import (
    check_staging,
    set_on_label,
    set_prefix_cache,
    set_record_text,
    set_rollout_policy,
    set_staging_of,
    set_webhook_secret,
)
from storage.service_splits import (
    find_split,
    go_back,
    history,
    set_split,
    split_before,
    split_of_intent,
)
from storage.splits import WHOLE_BP, Arm, Split, check_arms

__all__ = [
    "WHOLE_BP", "Arm", "Freeze", "Owner", "OwnerKind", "Service", "Split", "check_arms", "create",
    "every", "find", "find_split", "freeze", "give_back", "go_back", "history", "look_up",
    "named_releases", "owned", "remove", "set_on_label", "set_prefix_cache", "set_record_text",
    "set_rollout_policy", "set_split", "set_staging_of", "set_webhook_secret", "split_before",
    "split_of_intent", "switched", "take", "unfreeze",
]  # fmt: skip


async def create(
    s: AsyncSession,
    *,
    name: str,
    release: int,
    record_text: bool,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    salt: str | None = None,
    staging_of: str | None = None,
) -> Service:
    """A new service, all of whose traffic goes to one release.

    Raises:
        AlreadyExists: there is a service of this name. BadName: the name breaks the rule.
        NotFound: there is no such release, or no service `staging_of`.
        Invalid: that one is a staging itself.
    """
    names.check("service", name)
    if (frozen := await freezes.of_box(s)) is not None:
        raise errors.Frozen(f"The box is {frozen.words}. Unfreeze it with {frozen.command(name)}.")
    if await s.get(ServiceRow, name) is not None:
        raise errors.AlreadyExists(f"There is a service {name} already; set its split instead.")
    await check_staging(s, name, staging_of)
    arms = (Arm(release=release, weight_bp=WHOLE_BP),)
    split = await split_history.add(
        s,
        service=name,
        arms=arms,
        ranges=sticky_buckets.lay_out({release: WHOLE_BP}),
        salt=salt or secrets.token_hex(8),
        restores=None,
        actor=actor,
        at_us=at_us,
        intent_id=intent_id,
    )
    row = ServiceRow(
        name=name,
        split_id=split.id,
        first_split_id=split.id,
        record_text=record_text,
        version=1,
        created_at_us=at_us,
        created_by=actor,
        staging_of=staging_of,
    )
    s.add(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="services.create", noun="service", key=name, before=None,
        after={"arms": splits.ledger_form(splits.pairs(arms)), "record_text": record_text},
        at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return service_rows.record(row, split)


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
    intent_id: int | None = None, undo: bool = False,
) -> None:  # fmt: skip
    """Make a rollout or an A/B test the owner of a split; nothing changes if it is.

    Raises:
        NotOwner: another one owns it. Frozen: the service is frozen.
    """
    before = await find(s, service)
    if before.owner == owner:
        return
    if before.frozen is not None and not undo:
        command = before.frozen.command(service)
        raise errors.Frozen(f"{service} is {before.frozen.words}; {command} allows changes again.")
    if before.owner is not None:
        raise owned(before, before.owner)
    await _own(s, service, owner, None, actor, at_us, intent_id)


async def give_back(
    s: AsyncSession, *, service: str, owner: Owner, actor: str, at_us: int,
    intent_id: int | None = None,
) -> None:  # fmt: skip
    """Let people set the split by hand again; nothing changes if this owner has lost it."""
    before = await find(s, service)
    if before.owner == owner:
        await _own(s, service, None, owner, actor, at_us, intent_id)


async def remove(
    s: AsyncSession, *, service: str, actor: str, at_us: int, intent_id: int | None
) -> None:
    """Remove a service; its splits, requests and ledger stay, and the name is free again.

    Raises:
        Frozen: it is frozen. NotOwner: its split is owned. Invalid: another is its staging.
    """
    before = await find(s, service)
    if before.frozen is not None:
        raise errors.Frozen(f"{service} is {before.frozen.words}; unfreeze it before removing it.")
    if before.owner is not None:
        raise owned(before, before.owner)
    if own := [each.name for each in await every(s) if each.staging_of == service]:
        raise errors.Invalid(f"{own[0]} is the staging of {service}; remove it first.")
    await s.delete(await s.get_one(ServiceRow, service))
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="services.remove", noun="service", key=service,
        before={"arms": splits.ledger_form(splits.pairs(before.split.arms))}, after=None,
        at_us=at_us, intent_id=intent_id,
    )  # fmt: skip


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
