"""The rows of services, as records, and the checks that precede a change of one.

Imported by `storage.services`, which changes them, and through it by every package.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from sqlalchemy import Select, bindparam, inspect, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, freezes, rollout_policies, split_history, splits, unknown_names
from storage.freezes import BoxFreezeRow, Freeze
from storage.rollout_policies import Policy
from storage.rollout_steps import OnLabel
from storage.split_history import SplitRow
from storage.splits import Arm, Split
from storage.store import Store, stream

R = TypeVar("R", bound=SQLModel)


class OwnerKind(StrEnum):
    """What can own a split besides people, who set it by hand."""

    ROLLOUT = "rollout"
    AB_TEST = "ab_test"


class Owner(msgspec.Struct, frozen=True):
    """Who alone changes a split: a rollout or an A/B test, by its id."""

    kind: OwnerKind
    id: str

    @property
    def name(self) -> str:
        """In a sentence: rollout 3, A/B test 7."""
        return {"rollout": "rollout", "ab_test": "A/B test"}[self.kind.value] + f" {self.id}"


class PrefixCache(StrEnum):
    """Whose prompts a request may find in a worker's memory, and be found by."""

    SHARED = "shared"  # of all tenants: the time of an answer may show that another asked the same
    TENANT = "tenant"  # only those of its own tenant


class ServiceRow(SQLModel, table=True):
    """The row of a service; its history begins with the split `first_split_id`."""

    __tablename__: ClassVar[str] = "services"

    name: str = Field(primary_key=True)
    split_id: int
    first_split_id: int
    record_text: bool
    version: int
    owner_kind: str | None = None
    owner_id: str | None = None
    frozen_by: str | None = None
    frozen_reason: str | None = None
    frozen_at_us: int | None = None
    created_at_us: int
    created_by: str
    staging_of: str | None = None
    on_label: str = OnLabel.AT_ONCE.value
    rollout_policy: str | None = None
    prefix_cache: str = PrefixCache.SHARED.value
    webhook_secret: str | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service and its current split. `owner` is None where people set the split by hand.

    `staging_of` is the production service that this one tries releases for, None: it is one itself.
    `on_label` is how it follows a label that one of its releases names, `rollout_policy` how the
    release that its manifest names comes to the traffic: None is at once. `webhook_secret` refers
    to the key that signs the messages of its rollouts which have none of their own.
    """

    name: str
    split: Split
    record_text: bool
    version: int
    owner: Owner | None = None
    frozen: Freeze | None = None
    created_at_us: int
    created_by: str
    staging_of: str | None = None
    on_label: OnLabel = OnLabel.AT_ONCE
    rollout_policy: Policy | None = None
    prefix_cache: PrefixCache = PrefixCache.SHARED
    webhook_secret: str | None = None


async def find(s: AsyncSession, name: str) -> Service:
    """By its name.

    Raises:
        NotFound: there is none; the message lists those there are.
    """
    service = await look_up(s, name)
    if service is None:
        raise await unknown_names.refusal(
            s, "service", name, select(col(ServiceRow.name)).order_by(col(ServiceRow.name))
        )
    return service


async def look_up(s: AsyncSession, name: str) -> Service | None:
    """By its name, None where there is none."""
    query = (
        select(ServiceRow, SplitRow, BoxFreezeRow)
        .join(SplitRow, col(SplitRow.id) == col(ServiceRow.split_id))
        .outerjoin(BoxFreezeRow, true())
        .where(col(ServiceRow.name) == name)
    )
    found = (await s.execute(query)).one_or_none()
    if found is None:
        return None
    row, split, box = found
    return record(row, split_history.record(split), None if box is None else box.freeze)


_SPLIT_NOW: Final = select(col(ServiceRow.split_id)).where(
    col(ServiceRow.name) == bindparam("service")
)


def switched(store: Store, known: Service) -> Service | None:
    """A service that has another split by now, read at once; None while it has the known one.

    A service that was removed keeps the split that is known.

    Raises:
        Unavailable, Busy: the store cannot be read now.
    """
    now = store.glimpse(_SPLIT_NOW, service=known.name)
    if not now or now[0][0] == known.split.id:
        return None
    row = _at_once(store, ServiceRow, known.name)
    split = None if row is None else _at_once(store, SplitRow, row.split_id)
    if row is None or split is None:
        return None
    box = _at_once(store, BoxFreezeRow, freezes.ONLY)
    return record(row, split_history.record(split), None if box is None else box.freeze)


def _at_once(store: Store, kind: type[R], key: object) -> R | None:
    query = _by_key(kind)
    found = store.glimpse(query, key=key)
    if not found:
        return None
    return kind(**dict(zip(query.selected_columns.keys(), found[0], strict=True)))


@functools.cache
def _by_key(kind: type[SQLModel]) -> Select[*tuple[Any, ...]]:
    """The row of a table with the key `key`."""
    table = inspect(kind)
    (primary,) = table.primary_key
    return select(*table.columns).where(primary == bindparam("key"))


async def every(s: AsyncSession, named: Collection[str] | None = None) -> list[Service]:
    """All services, or those with these names, by name."""
    query = (
        select(ServiceRow, SplitRow)
        .join(SplitRow, col(SplitRow.id) == col(ServiceRow.split_id))
        .order_by(col(ServiceRow.name))
    )
    if named is not None:
        query = query.where(col(ServiceRow.name).in_(named))
    box = await freezes.of_box(s)
    return [record(row, split_history.record(split), box) async for row, split in stream(s, query)]


async def secrets(s: AsyncSession) -> set[str]:
    """The references to the keys that sign the messages of rollouts of any service."""
    found = await s.scalars(select(col(ServiceRow.webhook_secret)).distinct())
    return {each for each in found if each is not None}


async def named_releases(s: AsyncSession) -> set[int]:
    """The releases that any service's split names, whatever their weight."""
    query = select(col(SplitRow.arms)).join(
        ServiceRow, col(SplitRow.id) == col(ServiceRow.split_id)
    )
    return {
        arm.release
        async for (arms,) in stream(s, query.distinct())
        for arm in msgspec.json.decode(arms, type=tuple[Arm, ...])
    }


def check_version(before: Service, expected: int | None) -> None:
    """Raise Moved unless the service has the version that was seen; None expects nothing."""
    if expected is not None and expected != before.version:
        raise errors.Moved(
            f"{before.name} changed since you looked: {before.split.set_by} set "
            f"{splits.words(splits.pairs(before.split.arms))}. Look again."
        )


def owned(service: Service, owner: Owner) -> errors.NotOwner:
    """The refusal of a change that only the owner may make."""
    end = "abort" if owner.kind is OwnerKind.ROLLOUT else "stop"
    return errors.NotOwner(
        f"{owner.name} owns the split of {service.name}; {end} it first, or go back with "
        f"`paddock services undo {service.name}`, which takes the split from it."
    )


def record(row: ServiceRow, split: Split, box: Freeze | None = None) -> Service:
    """The service of its row and its current split; its own freeze comes before the box's."""
    owner, frozen = None, box
    if row.owner_kind is not None:
        owner = Owner(OwnerKind(row.owner_kind), row.owner_id or "")
    if row.frozen_by is not None:
        frozen = Freeze(
            by=row.frozen_by, reason=row.frozen_reason or "", at_us=row.frozen_at_us or 0
        )
    return Service(
        name=row.name,
        split=split,
        record_text=row.record_text,
        version=row.version,
        owner=owner,
        frozen=frozen,
        created_at_us=row.created_at_us,
        created_by=row.created_by,
        staging_of=row.staging_of,
        on_label=OnLabel(row.on_label),
        rollout_policy=rollout_policies.decode(row.rollout_policy),
        prefix_cache=PrefixCache(row.prefix_cache),
        webhook_secret=row.webhook_secret,
    )
