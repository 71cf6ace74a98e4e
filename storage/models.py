"""Models and their immutable versions: weights, or an adapter on the weights of another version.

A version is what its file was when it was registered, by SHA-256; nothing here opens that file.
What it was made from is recorded beside it and may be corrected. Read by everybody, written by
`engine.control`; the node writes what it learns of their status.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from sqlalchemy import inspect as mapping
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import (
    errors,
    ledger,
    model_aliases,
    model_checks,
    model_files,
    model_lineage,
    model_memory,
    moves,
    names,
    unknown_names,
)
from storage.model_aliases import Alias
from storage.model_checks import ModelChecks
from storage.model_files import ModelFile
from storage.model_memory import Memory
from storage.model_records import (
    MOVES,
    Kind,
    Lineage,
    ModelRow,
    ModelVersion,
    Status,
    check_version,
    order,
    version_of,
)
from storage.runtime.file_identity import Identity
from storage.store import stream

__all__ = [
    "MOVES",
    "Kind",
    "Lineage",
    "ModelRow",
    "ModelVersion",
    "Status",
    "check_version",
    "order",
]

_TABLE: Final = mapping(ModelRow).local_table


async def add(
    s: AsyncSession,
    *,
    model: str,
    version: str,
    kind: Kind,
    base_id: int | None,
    path: str,
    sha256: str,
    size_bytes: int,
    mtime_ns: int,
    architecture: str,
    parameters: int,
    quantisation: str,
    context_tokens: int,
    licence: str | None,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    checks: ModelChecks | None = None,
    source: str | None = None,
    kv_bytes_per_token: int | None = None,
    lineage: Lineage | None = None,
    inode: int | None = None,
    template_sha256: str | None = None,
    memory: Memory | None = None,
    parts: Sequence[ModelFile] = (),
) -> ModelVersion:
    """Register a version; `source` is the address that its file was downloaded from.

    `parts` are the files of a split model, of which `path` and `mtime_ns` are the first's.

    Raises:
        AlreadyExists: the model has this version.
        Invalid: an adapter without weights below it, or weights on something.
        NotFound: there is no such parent.
    """
    lineage = lineage or Lineage()
    names.check("model", model)
    check_version(version)
    if (kind is Kind.ADAPTER) != (base_id is not None):
        raise errors.Invalid("An adapter needs its base version; weights have none.")
    if base_id is not None and (base := await get(s, base_id)).kind is not Kind.WEIGHTS:
        raise errors.Invalid(f"{base.name} is an adapter; the base of an adapter is weights.")
    if lineage.parent_id is not None:
        await get(s, lineage.parent_id)
    if await _row(s, model, version) is not None:
        raise errors.AlreadyExists(
            f"{model}@{version} is registered; versions never change, so take the next number."
        )
    row = ModelRow(
        model=model,
        version=version,
        kind=kind.value,
        base_id=base_id,
        path=path,
        sha256=sha256,
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        architecture=architecture,
        parameters=parameters,
        quantisation=quantisation,
        context_tokens=context_tokens,
        licence=licence,
        status=Status.REGISTERED.value,
        status_reason=None,
        created_at_us=at_us,
        created_by=actor,
        checks=model_checks.encode(checks or ModelChecks()),
        source=source,
        kv_bytes_per_token=kv_bytes_per_token,
        inode=inode,
        template_sha256=template_sha256,
        memory=model_memory.encode(memory),
        parent_id=lineage.parent_id,
        dataset=lineage.dataset,
        run=lineage.run,
        parts=model_files.encode(parts),
    )
    s.add(row)
    await s.flush()
    added = version_of(row)
    await ledger.write(
        s, actor=actor, verb="models.add", noun="model", key=added.name,
        before=None, after=added, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return added


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
        found = await _row(s, model, at)
    if found is None:
        known = select(col(ModelRow.model), col(ModelRow.version))
        known = known.order_by(col(ModelRow.model), col(ModelRow.id))
        raise await unknown_names.refusal(s, "model", name, known, "{}@{}".format)
    return version_of(found)


async def get(s: AsyncSession, id: int) -> ModelVersion:
    """By its id."""
    row = await s.get(ModelRow, id)
    if row is None:
        raise errors.NotFound(f"There is no model version with id {id}.")
    return version_of(row)


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


async def same_file(
    s: AsyncSession, *, model: str, version: str, sha256: str, base_id: int | None
) -> ModelVersion | None:
    """The version of this name if it was registered from the same content; else None."""
    row = await _row(s, model, version)
    if row is None or (row.sha256, row.base_id) != (sha256, base_id):
        return None
    return version_of(row)


async def add_again(
    s: AsyncSession,
    id: int,
    *,
    path: str,
    size_bytes: int,
    mtime_ns: int,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    checks: ModelChecks | None = None,
    kv_bytes_per_token: int | None = None,
    inode: int | None = None,
    template_sha256: str | None = None,
    memory: Memory | None = None,
    parts: Sequence[ModelFile] = (),
) -> ModelVersion:
    """Load a version from where the same file was found now; an unloadable one is tried again.

    What was found now replaces what was found before, where it is given; a measured memory
    stays unless more types of KV cache were measured now.
    """
    before = await get(s, id)
    file: dict[str, object] = {
        "path": path,
        "size_bytes": size_bytes,
        "mtime_ns": mtime_ns,
        "inode": inode,
        "parts": model_files.encode(parts),
    }
    if checks is not None:
        file["checks"] = model_checks.encode(checks)
    if kv_bytes_per_token is not None:
        file["kv_bytes_per_token"] = kv_bytes_per_token
    if template_sha256 is not None:
        file["template_sha256"] = template_sha256
    known = frozenset() if before.memory is None else before.memory.kv_cache_types
    if memory is not None and memory.kv_cache_types - known:
        file["memory"] = model_memory.encode(memory)
    if before.status is not Status.REGISTERED:
        await moves.move(
            s, MOVES, ModelRow, id, before.status, Status.REGISTERED,
            actor=actor, verb="models.add", at_us=at_us, intent_id=intent_id,
            changes={"status_reason": None, **file},
        )  # fmt: skip
        return await get(s, id)
    row = await s.get_one(ModelRow, id)
    for name, value in file.items():
        setattr(row, name, value)
    await s.flush()
    after = version_of(row)
    if after != before:
        await ledger.write(
            s, actor=actor, verb="models.add", noun="model", key=str(id),
            before=before.path, after=path, at_us=at_us, intent_id=intent_id,
        )  # fmt: skip
    return after


async def note_verified(s: AsyncSession, id: int, verified: Sequence[Identity]) -> None:
    """Remember by what the files of a version are recognised, after they were verified again."""
    row = await s.get_one(ModelRow, id)
    parts = model_files.decode(row.parts)
    row.size_bytes = sum(each.size_bytes for each in verified)
    row.mtime_ns, row.inode = verified[0].mtime_ns, verified[0].inode
    if parts:
        seen = (part.seen(now) for part, now in zip(parts, verified, strict=True))
        row.parts = model_files.encode(seen)
    await s.flush()


async def _row(s: AsyncSession, model: str, version: str) -> ModelRow | None:
    query = select(ModelRow).where(col(ModelRow.model) == model, col(ModelRow.version) == version)
    return (await s.scalars(query)).first()
