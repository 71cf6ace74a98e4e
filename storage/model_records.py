"""A model version as it is stored and as it is read, its states, and the order of versions.

Imported by `storage.models`, through which other packages use them.
"""

from __future__ import annotations

import functools
import re
from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
import semver
from sqlalchemy import Row, select
from sqlalchemy import inspect as mapping
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, model_checks, model_files, model_memory, moves
from storage.model_checks import ModelChecks
from storage.model_files import ModelFile
from storage.model_memory import Memory

_VERSION: Final = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})", re.ASCII)


class Kind(StrEnum):
    """What a version's file holds."""

    WEIGHTS = "weights"
    ADAPTER = "adapter"


class Status(StrEnum):
    """Whether workers may be asked to load a version.

    REGISTERED: control put it here after reading the file's header, or put it back because the
        same file was added again. It stays here unless a worker proves otherwise; a crash leaves
        either no row, or the row as it was.
    UNLOADABLE: the node moved it here because the file itself is at fault (it was replaced, it
        cannot be parsed, workers die of it), with the reason. What a box lacks for a time, such as
        the file's mount or memory, never moves it. No process is started to load it any more; one
        that has it in memory keeps serving. If the node dies before it wrote this, the next load
        ends the same way and it is written then. Adding the same file again puts it back.
    REMOVED: control moved it here because a person asked, and no release, alias or adapter needs
        it. Its record stays, for the lineage of others; a job that is queued in the same
        transaction deletes its downloaded file, so that a crash leaves the job. Adding the same
        file again puts it back.
    """

    REGISTERED = "registered"
    UNLOADABLE = "unloadable"
    REMOVED = "removed"


MOVES: Final = moves.Table(
    noun="model",
    column="status",
    begins=frozenset({Status.REGISTERED}),
    legal={
        Status.REGISTERED: frozenset({Status.UNLOADABLE, Status.REMOVED}),
        Status.UNLOADABLE: frozenset({Status.REGISTERED, Status.REMOVED}),
        Status.REMOVED: frozenset({Status.REGISTERED}),
    },
)


class ModelRow(SQLModel, table=True):
    """A version as it is stored."""

    __tablename__: ClassVar[str] = "models"

    id: int | None = Field(default=None, primary_key=True)
    model: str
    version: str
    kind: str
    base_id: int | None
    path: str
    sha256: str
    size_bytes: int
    mtime_ns: int
    inode: int | None
    architecture: str
    parameters: int
    quantisation: str
    context_tokens: int
    licence: str | None
    status: str
    status_reason: str | None
    created_at_us: int
    created_by: str
    checks: str
    source: str | None
    kv_bytes_per_token: int | None
    template_sha256: str | None
    memory: str | None
    parent_id: int | None
    dataset: str | None
    run: str | None
    parts: str | None


_COLUMNS: Final = tuple(mapping(ModelRow).local_table.columns.keys())


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """What a version was made from: another version, a dataset version, by which training run."""

    parent_id: int | None = None
    dataset: str | None = None
    run: str | None = None


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model.

    `size_bytes`, `mtime_ns` and `inode` are the file's when its SHA-256 was last verified.
    `kv_bytes_per_token` is the size of a token in the KV cache, `template_sha256` the hash of the
    chat template, empty where there is none, `memory` what loading it takes; all None where they
    are not known. `parts` are the files of a split model, and empty for one file: then `path` is
    the first one, `size_bytes` is of all together, and `sha256` is that of their hashes.
    """

    id: int
    model: str
    version: str
    kind: Kind
    base_id: int | None
    path: str
    sha256: str
    size_bytes: int
    mtime_ns: int
    architecture: str
    parameters: int
    quantisation: str
    context_tokens: int
    licence: str | None
    status: Status
    status_reason: str | None
    created_at_us: int
    created_by: str
    checks: ModelChecks = ModelChecks()
    source: str | None = None
    kv_bytes_per_token: int | None = None
    inode: int | None = None
    template_sha256: str | None = None
    memory: Memory | None = None
    parent_id: int | None = None
    dataset: str | None = None
    run: str | None = None
    parts: tuple[ModelFile, ...] = ()

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """Its file, or its parts in their order."""
        if self.parts:
            return self.parts
        whole = ModelFile(
            path=self.path,
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            mtime_ns=self.mtime_ns,
            inode=self.inode,
        )
        return (whole,)

    @property
    def lineage(self) -> Lineage:
        """What it was made from."""
        return Lineage(parent_id=self.parent_id, dataset=self.dataset, run=self.run)

    @property
    def name(self) -> str:
        """As people write it: ops@1.1.0."""
        return f"{self.model}@{self.version}"


def check_version(version: str) -> str:
    """The version itself; Invalid unless it is MAJOR.MINOR.PATCH."""
    if _VERSION.fullmatch(version):
        return version
    parts = version.split(".")
    close = ".".join([*parts, "0", "0"][:3])
    meant = f"; did you mean {close}?" if len(parts) < 3 and _VERSION.fullmatch(close) else "."  # noqa: PLR2004
    raise errors.Invalid(
        f"{version!r} is not a semantic version; write three numbers, MAJOR.MINOR.PATCH, as in "
        f"1.0.0{meant}"
    )


@functools.lru_cache(maxsize=4096)
def order(version: str) -> tuple[int, int, int]:
    """What versions are ordered by: 1.10.0 comes after 1.9.0."""
    parsed = semver.Version.parse(version)
    return (parsed.major, parsed.minor, parsed.patch)


def version_of(row: ModelRow | Row[Any]) -> ModelVersion:
    """A stored row as it is read: one of the mapper, or one of all columns in their order."""
    if isinstance(row, ModelRow):
        kept = {field: getattr(row, field) for field in ModelVersion.__struct_fields__}
    else:  # names are looked up once, which counts for a thousand versions
        kept = dict(zip(_COLUMNS, row, strict=True))
    kept["checks"] = model_checks.decode(kept["checks"])
    kept["memory"] = model_memory.decode(kept["memory"])
    kept["parts"] = model_files.decode(kept["parts"])
    kept["kind"], kept["status"] = Kind(kept["kind"]), Status(kept["status"])
    return ModelVersion(**kept)


async def get(s: AsyncSession, id: int) -> ModelVersion:
    """A version by its id."""
    row = await s.get(ModelRow, id)
    if row is None:
        raise errors.NotFound(f"There is no model version with id {id}.")
    return version_of(row)


async def row_of(s: AsyncSession, model: str, version: str) -> ModelRow | None:
    """The row of a version by its name; None where there is none."""
    query = select(ModelRow).where(col(ModelRow.model) == model, col(ModelRow.version) == version)
    return (await s.scalars(query)).first()
