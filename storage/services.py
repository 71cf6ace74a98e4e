"""Services: the names that clients put into `model`, and the splits of their traffic.

A split is never changed: setting one adds one, and the service points at it. `version` grows with
each split; an intent names the version it expects. Read by everybody, written by `engine.control`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, names, splits
from storage.splits import WHOLE_BP, Arm, Split, SplitRow, check_arms, history

__all__ = [
    "WHOLE_BP", "Arm", "Service", "Split", "check_arms", "create", "every", "find", "history",
    "set_split", "undo",
]  # fmt: skip


class ServiceRow(SQLModel, table=True):
    """A service as it is kept."""

    __tablename__: ClassVar[str] = "services"

    name: str = Field(primary_key=True)
    split_id: int
    record_text: bool
    version: int
    created_at_us: int
    created_by: str


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service and the split that is set."""

    name: str
    split: Split
    record_text: bool
    version: int
    created_at_us: int
    created_by: str


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
) -> Service:
    """A new service, all of whose traffic goes to one release."""
    names.check("service", name)
    if await s.get(ServiceRow, name) is not None:
        raise errors.AlreadyExists(f"There is a service {name}; set its split instead.")
    arms = (Arm(release=release, weight_bp=WHOLE_BP),)
    split = await splits.add(s, name, arms, salt or secrets.token_hex(8), actor, at_us, intent_id)
    row = ServiceRow(
        name=name,
        split_id=split.id,
        record_text=record_text,
        version=1,
        created_at_us=at_us,
        created_by=actor,
    )
    s.add(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="services.create", noun="service", key=name, before=None,
        after={"arms": splits.told(arms), "record_text": record_text},
        at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return _service(row, split)


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
) -> Split:
    """Set the split of a service; arms of weight 0 stay loaded and get nothing.

    Without a `salt` the one that is set stays, so that users stay where they are while weights
    change; a new salt deals them anew.

    Raises:
        Moved: `expected_version` is given and the service has another version by now.
        Invalid: the weights do not add up to 10000, or a release is named twice.
        NotFound: there is no such service or release.
    """
    return await _set(
        s, "services.split", service, arms, expected_version, actor, at_us, intent_id, salt
    )


async def undo(
    s: AsyncSession,
    *,
    service: str,
    actor: str,
    at_us: int,
    expected_version: int | None = None,
    intent_id: int | None = None,
) -> Split:
    """Set the split that stood before this one, its salt included; twice is as if never.

    Raises:
        Invalid: there was none before.
        Moved: `expected_version` is given and the service has another version by now.
    """
    past = await history(s, (await find(s, service)).name, limit=2)
    if len(past) < 2:  # noqa: PLR2004 this one and the one before
        raise errors.Invalid(f"{service} has had one split only; there is nothing to undo.")
    before = past[1]
    return await _set(
        s,
        "services.undo",
        service,
        before.arms,
        expected_version,
        actor,
        at_us,
        intent_id,
        before.salt,
    )


async def find(s: AsyncSession, name: str) -> Service:
    """By its name."""
    row = await s.get(ServiceRow, name)
    if row is None:
        raise errors.unknown("service", name, [each.name for each in await every(s)])
    return _service(row, splits.split(await s.get_one(SplitRow, row.split_id)))


async def every(s: AsyncSession) -> list[Service]:
    """All services by name."""
    query = (
        select(ServiceRow, SplitRow)
        .join(SplitRow, col(SplitRow.id) == col(ServiceRow.split_id))
        .order_by(col(ServiceRow.name))
    )
    return [_service(row, splits.split(split)) for row, split in (await s.execute(query))]


async def _set(
    s: AsyncSession,
    verb: str,
    service: str,
    arms: Sequence[Arm],
    expected_version: int | None,
    actor: str,
    at_us: int,
    intent_id: int | None,
    salt: str | None,
) -> Split:
    standing = await find(s, service)
    if expected_version is not None and expected_version != standing.version:
        raise errors.Moved(
            f"{service} changed since you looked: {standing.split.set_by} set "
            f"{splits.words(standing.split.arms)}. Look again."
        )
    split = await splits.add(s, service, arms, salt or standing.split.salt, actor, at_us, intent_id)
    row = await s.get_one(ServiceRow, service)
    row.split_id, row.version = split.id, standing.version + 1
    await s.flush()
    await ledger.write(
        s, actor=actor, verb=verb, noun="service", key=service,
        before=splits.told(standing.split.arms),
        after=splits.told(arms), at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return split


def _service(row: ServiceRow, split: Split) -> Service:
    return Service(
        name=row.name,
        split=split,
        record_text=row.record_text,
        version=row.version,
        created_at_us=row.created_at_us,
        created_by=row.created_by,
    )
