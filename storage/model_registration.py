"""Model versions are registered, again or for the first time, with the files that they have.

Nothing here opens a file: what is recorded was found out by the job that adds the version, or by
the node that verified its files. Imported by `storage.models`, through which every package asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from storage import (
    errors,
    ledger,
    model_checks,
    model_files,
    model_memory,
    model_records,
    moves,
    names,
)
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
    version_of,
)
from storage.runtime.file_identity import Identity


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
    if (
        base_id is not None
        and (base := await model_records.get(s, base_id)).kind is not Kind.WEIGHTS
    ):
        raise errors.Invalid(f"{base.name} is an adapter; the base of an adapter is weights.")
    if lineage.parent_id is not None:
        await model_records.get(s, lineage.parent_id)
    if await model_records.row_of(s, model, version) is not None:
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


async def same_file(
    s: AsyncSession, *, model: str, version: str, sha256: str, base_id: int | None
) -> ModelVersion | None:
    """The version of this name if it was registered from the same content; else None."""
    row = await model_records.row_of(s, model, version)
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
    before = await model_records.get(s, id)
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
        return await model_records.get(s, id)
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
