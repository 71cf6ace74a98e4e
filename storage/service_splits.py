"""The split of a service: set anew, or gone back to, and the splits that it has had.

Imported by `storage.services`, through which every package sets them.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from storage import (
    errors,
    ledger,
    service_rows,
    split_history,
    splits,
    sticky_buckets,
)
from storage.service_rows import (
    Owner,
    Service,
    ServiceRow,
    find,
    owned,
)
from storage.splits import Arm, Split, check_arms


async def set_split(
    s: AsyncSession,
    *,
    service: str,
    arms: Sequence[Arm],
    expected_version: int | None,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    salt: str | None = None,
    by: Owner | None = None,
    undo: bool = False,
) -> Split:
    """Set the split of a service; arms of weight 0 stay loaded and get nothing.

    Without a `salt` the current one stays and as few users move to another arm as the weights
    allow; a new salt assigns all users anew. `by` is the owner that asks, None for people; `undo`
    says that it leads back to an earlier release, which a freeze never forbids.

    Raises:
        Moved: `expected_version` is given and the service has another version by now.
        Frozen: the service is frozen. NotOwner: something else owns the split.
        Invalid: the weights do not add up to 10000, or a release is named twice.
        NotFound: there is no such service or release.
    """
    check_arms(arms)
    before = await find(s, service)
    service_rows.check_version(before, expected_version)
    if before.frozen is not None and not undo:
        raise errors.Frozen(
            f"{service} is {before.frozen.words}. Unfreeze it with "
            f"{before.frozen.command(service)}; going back with `paddock services undo {service}` "
            "is allowed."
        )
    if before.owner is not None and before.owner != by:
        raise owned(before, before.owner)
    weights = {arm.release: arm.weight_bp for arm in arms}
    kept = salt is None or salt == before.split.salt
    ranges = (
        sticky_buckets.rebalance(before.split.ranges, weights)
        if kept
        else sticky_buckets.lay_out(weights)
    )
    return await _set(
        s, before, "services.split", arms, ranges, salt or before.split.salt, None, actor, at_us,
        intent_id,
    )  # fmt: skip


async def go_back(
    s: AsyncSession,
    *,
    service: str,
    to: int,
    actor: str,
    at_us: int,
    expected_version: int | None = None,
    intent_id: int | None = None,
) -> Split:
    """Set the split with the id `to` again: its arms, and the arm that each user had.

    Never toggles: where the service has that split already, it keeps it and nothing is written.
    Allowed on a frozen service, and on one that is owned, which its owner loses by it.

    Raises:
        Moved: `expected_version` is given, the service has another version by now, and it is not
            at split `to`.
        NotFound: there is no such service, or it never had that split.
    """
    before = await find(s, service)
    target = await find_split(s, service, to)
    if splits.origin(before.split) == splits.origin(target):
        return before.split
    service_rows.check_version(before, expected_version)
    row = await s.get_one(ServiceRow, service)
    row.owner_kind = row.owner_id = None
    return await _set(
        s, before, "services.undo", target.arms, target.ranges, target.salt,
        splits.origin(target), actor, at_us, intent_id,
    )  # fmt: skip


async def history(s: AsyncSession, service: str, limit: int = 100) -> list[Split]:
    """The splits of a service, newest first; the first is the current one."""
    row = await s.get(ServiceRow, service)
    return [] if row is None else await split_history.tail(s, service, row.first_split_id, limit)


async def find_split(s: AsyncSession, service: str, id: int) -> Split:
    """One split of a service.

    Raises:
        NotFound: there is no such service, or it never had that split.
    """
    await find(s, service)
    row = await s.get_one(ServiceRow, service)
    return await split_history.find(s, service, row.first_split_id, id)


async def split_before(s: AsyncSession, service: str, id: int) -> Split | None:
    """The split of a service that was set before the one with this id, if there is one."""
    row = await s.get_one(ServiceRow, service)
    return await split_history.before(s, service, row.first_split_id, id)


async def split_of_intent(s: AsyncSession, service: str, intent_id: int) -> Split | None:
    """The split that an intent set, if it set one."""
    return await split_history.of_intent(s, service, intent_id)


async def _set(
    s: AsyncSession,
    before: Service,
    verb: str,
    arms: Sequence[Arm],
    ranges: Sequence[sticky_buckets.Range],
    salt: str,
    restores: int | None,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> Split:
    split = await split_history.add(
        s,
        service=before.name,
        arms=arms,
        ranges=ranges,
        salt=salt,
        restores=restores,
        actor=actor,
        at_us=at_us,
        intent_id=intent_id,
    )
    row = await s.get_one(ServiceRow, before.name)
    row.split_id, row.version = split.id, before.version + 1
    await s.flush()
    await ledger.write(
        s, actor=actor, verb=verb, noun="service", key=before.name,
        before=splits.ledger_form(splits.pairs(before.split.arms)),
        after=splits.ledger_form(splits.pairs(split.arms)), at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return split
