"""Models and their immutable versions: weights, or an adapter on the weights of another version.

A version is what its file was when it was registered, by SHA-256; nothing here opens that file.
What it was made from is recorded beside it and may be corrected. Read by every package, written by
`engine.control`; the node writes what it learns of their status.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sqlalchemy import inspect as mapping
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import ledger, model_aliases, model_lineage, model_records, moves, unknown_names
from storage.model_aliases import Alias
from storage.model_records import (
    MOVES,
    Kind,
    Lineage,
    ModelRow,
    ModelVersion,
    Status,
    check_version,
    get,
    order,
    version_of,
)
from storage.model_registration import add, add_again, note_verified, same_file
from storage.store import stream

__all__ = [
    "MOVES", "Kind", "Lineage", "ModelRow", "ModelVersion", "Status", "add", "add_again", "aliases",
    "check_version", "every", "find", "get", "loaded_as", "mark_unloadable", "note_verified",
    "order", "remove", "same_file", "trace", "with_bases",
]  # fmt: skip

_TABLE: Final = mapping(ModelRow).local_table


async def find(s: AsyncSession, name: str) -> ModelVersion:
    """By `ops@1.1.0`, by an alias (`ops@champion`), or by `ops`: its highest version."""
    model, _, at = name.partition("@")
    found = None
    if at in {"", model_aliases.LATEST}:
        kept = col(ModelRow.status) != Status.REMOVED.value
        rows = await s.scalars(select(ModelRow).where(col(ModelRow.model) == model, kept))
        found = max(rows, key=lambda row: order(row.version), default=None)
    elif (alias := await model_aliases.find(s, model, at)) is not None:
        found = await s.get(ModelRow, alias.version_id)
    else:
        found = await model_records.row_of(s, model, at)
    if found is None:
        known = select(col(ModelRow.model), col(ModelRow.version))
        known = known.order_by(col(ModelRow.model), col(ModelRow.id))
        raise await unknown_names.refusal(s, "model", name, known, "{}@{}".format)
    return version_of(found)


async def every(s: AsyncSession) -> list[ModelVersion]:
    """All versions, by model and then from low to high; one query, without row objects."""
    found = [version_of(row) async for row in stream(s, select(*_TABLE.columns))]
    return sorted(found, key=lambda each: (each.model, order(each.version)))


async def with_bases(s: AsyncSession, ids: Collection[int]) -> dict[int, ModelVersion]:
    """The versions with these ids and those that they are adapters on, by id."""
    row = _TABLE.columns
    bases = select(row.base_id).where(row.id.in_(ids))
    query = select(*row).where(row.id.in_(ids) | row.id.in_(bases))
    return {found.id: version_of(found) async for found in stream(s, query)}


def aliases(versions: Iterable[ModelVersion], known: Iterable[Alias]) -> dict[int, tuple[str, ...]]:
    """The aliases of each version that has any, by id; `latest` is the highest of its model.

    `versions` are all versions of their models, as `every` sorts them.
    """
    found: dict[int, list[str]] = {}
    for alias in known:
        found.setdefault(alias.version_id, []).append(alias.alias)
    highest = {each.model: each.id for each in versions if each.status is not Status.REMOVED}
    for id in highest.values():
        found.setdefault(id, []).append(model_aliases.LATEST)
    return {id: tuple(each) for id, each in found.items()}


async def trace(
    s: AsyncSession,
    id: int,
    lineage: Lineage,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> ModelVersion:
    """Record what a version was made from, in place of what was recorded before.

    Raises:
        NotFound: there is no such version or parent.
        Invalid: the version would be its own ancestor.
    """
    before = await get(s, id)
    if lineage.parent_id is not None:
        await get(s, lineage.parent_id)
        model_lineage.prove({each.id: each for each in await every(s)}, id, lineage.parent_id)
    if lineage == before.lineage:
        return before
    row = await s.get_one(ModelRow, id)
    row.parent_id, row.dataset, row.run = lineage.parent_id, lineage.dataset, lineage.run
    await s.flush()
    await ledger.write(
        s, actor=actor, verb="models.trace", noun="model", key=before.name,
        before=before.lineage, after=lineage, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return version_of(row)


async def loaded_as(s: AsyncSession, weights: int, adapter: str) -> list[ModelVersion]:
    """What a worker with these weights loads as `adapter` (16 hex digits; "" is the weights)."""
    if not adapter:
        return [await get(s, weights)]
    return [
        each
        for each in await every(s)
        if each.base_id == weights and each.sha256.startswith(adapter)
    ]


async def mark_unloadable(s: AsyncSession, id: int, reason: str, at_us: int) -> None:
    """Record that workers cannot load a version; no change if that is known already."""
    if (await get(s, id)).status is not Status.REGISTERED:
        return
    await moves.move(
        s, MOVES, ModelRow, id, Status.REGISTERED, Status.UNLOADABLE,
        actor="node", at_us=at_us, changes={"status_reason": reason},
    )  # fmt: skip


async def remove(
    s: AsyncSession, id: int, *, actor: str, at_us: int, intent_id: int | None = None
) -> None:
    """Take a version out of use; its record stays.

    Raises:
        Moved: it was removed before.
    """
    before = await get(s, id)
    await moves.move(
        s, MOVES, ModelRow, id, before.status, Status.REMOVED,
        actor=actor, verb="models.remove", at_us=at_us, intent_id=intent_id,
        changes={"status_reason": f"removed by {actor}"},
    )  # fmt: skip
