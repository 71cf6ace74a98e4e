"""Releases: the immutable tuple that answers a request, identified by the hash of its content.

Model version, prompt version, sampling defaults, limits and engine settings; the name of the
worker that serves it follows from them. Read by everybody, written by `engine.control`.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, ClassVar, Final, TypeVar

import msgspec
from msgspec import Meta
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger
from storage.models import Kind, ModelVersion
from storage.prompts import PromptVersion

T = TypeVar("T")

_LANE: Final = 16
_SUFFIXES: Final = (4, 8, 16, 32)  # hex digits of the engine hash: as few as tell workers apart
_PREFIX: Final = 6


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens are drawn when the client does not say; `temperature` 0 is greedy."""

    temperature: Annotated[float, Meta(ge=0, le=5)] = 0.7
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] = 40
    top_p: Annotated[float, Meta(gt=0, le=1)] = 0.95
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`max_tokens` when the client gives none, the most it may ask for, the wait for a token."""

    max_tokens: Annotated[int, Meta(ge=1, le=131_072)] = 256
    max_tokens_cap: Annotated[int, Meta(ge=1, le=131_072)] | None = None
    queue_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0


class Engine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a worker loads the weights; `context_tokens` is of one sequence, 0 threads are all."""

    context_tokens: Annotated[int, Meta(ge=16, le=4_194_304)] = 1024
    max_sequences: Annotated[int, Meta(ge=1, le=256)] = 16
    gpu_layers: Annotated[int, Meta(ge=-1, le=10_000)] = -1
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    prefill_budget: Annotated[int, Meta(ge=16, le=8192)] = 256


class ReleaseRow(SQLModel, table=True):
    """A release as it is kept; its settings are JSON."""

    __tablename__: ClassVar[str] = "releases"

    number: int | None = Field(default=None, primary_key=True)
    sha256: str
    model_version_id: int
    prompt_version_id: int | None
    sampling: str
    limits: str
    engine: str
    worker: str
    lane: str
    created_at_us: int
    created_by: str
    comment: str


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One release. `lane` is empty for weights, else the first 16 hex digits of the adapter."""

    number: int
    sha256: str
    model_version_id: int
    prompt_version_id: int | None
    sampling: Sampling
    limits: Limits
    engine: Engine
    worker: str
    lane: str
    created_at_us: int
    created_by: str
    comment: str

    @property
    def name(self) -> str:
        """As people write it: r14."""
        return f"r{self.number}"


def content(
    model_version: ModelVersion,
    base: ModelVersion | None,
    prompt_version: PromptVersion | None,
    sampling: Sampling,
    limits: Limits,
    engine: Engine,
) -> str:
    """The SHA-256 of everything that decides how a release answers."""
    parts = {
        "model": [model_version.name, model_version.sha256],
        "base": None if base is None else [base.name, base.sha256],
        "prompt": None if prompt_version is None else [prompt_version.name, prompt_version.sha256],
        "sampling": sampling,
        "limits": limits,
        "engine": engine,
    }
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


async def create(
    s: AsyncSession,
    *,
    model_version: ModelVersion,
    base: ModelVersion | None = None,
    prompt_version: PromptVersion | None,
    sampling: Sampling,
    limits: Limits,
    engine: Engine,
    comment: str,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Release:
    """The release with this content: a new one, or the one that has it already.

    Raises:
        Invalid: a setting is out of range, or an adapter comes without its base.
    """
    if model_version.base_id != (None if base is None else base.id):
        raise errors.Invalid(f"{model_version.name} and its base do not belong together.")
    sampling, limits, engine = _checked(sampling), _checked(limits), _checked(engine)
    sha256 = content(model_version, base, prompt_version, sampling, limits, engine)
    same = (await s.scalars(select(ReleaseRow).where(col(ReleaseRow.sha256) == sha256))).first()
    if same is not None:
        return _release(same)
    row = ReleaseRow(
        sha256=sha256,
        model_version_id=model_version.id,
        prompt_version_id=None if prompt_version is None else prompt_version.id,
        sampling=_json(sampling),
        limits=_json(limits),
        engine=_json(engine),
        worker=await _worker(s, base or model_version, engine),
        lane=model_version.sha256[:_LANE] if model_version.kind is Kind.ADAPTER else "",
        created_at_us=at_us,
        created_by=actor,
        comment=comment,
    )
    s.add(row)
    await s.flush()
    created = _release(row)
    await ledger.write(
        s, actor=actor, verb="releases.create", noun="release", key=created.name,
        before=None, after=created, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return created


def _checked(settings: T) -> T:
    """The settings with every value in its range and of its own type, so that equal hash equal."""
    try:
        return msgspec.convert(msgspec.to_builtins(settings), type(settings))
    except msgspec.ValidationError as error:
        raise errors.Invalid(f"A setting of the release is out of range: {error}.") from error


async def _worker(s: AsyncSession, weights: ModelVersion, engine: Engine) -> str:
    """The name of the worker for these weights and settings; others never share it."""
    plain = f"{weights.model}-{weights.version}"
    if engine == Engine():
        return plain
    said = _json(engine)
    digest = hashlib.sha256(said.encode()).hexdigest()
    for digits in _SUFFIXES:
        name = f"{plain}-{digest[:digits]}"
        taken = await s.scalars(select(ReleaseRow).where(col(ReleaseRow.worker) == name))
        if all(row.engine == said for row in taken):
            return name
    raise errors.Invalid(f"No name is left for a worker of {weights.name}.")


async def find(s: AsyncSession, name: str) -> Release:
    """By `r14`, or by at least six digits of its hash."""
    row = None
    if name[:1] == "r" and name[1:].isascii() and name[1:].isdecimal():
        row = await s.get(ReleaseRow, min(int(name[1:20]), 2**62))
    elif len(name) >= _PREFIX and name.isalnum():
        query = select(ReleaseRow).where(col(ReleaseRow.sha256).startswith(name, autoescape=True))
        rows = list(await s.scalars(query.limit(2)))
        if len(rows) > 1:
            raise errors.NotFound(f"Several releases begin with {name}; write more of the hash.")
        row = rows[0] if rows else None
    if row is None:
        raise errors.unknown("release", name, [each.name for each in await every(s)])
    return _release(row)


async def get(s: AsyncSession, number: int) -> Release:
    """By its number."""
    return await find(s, f"r{number}")


async def every(s: AsyncSession) -> list[Release]:
    """All releases, oldest first."""
    query = select(ReleaseRow).order_by(col(ReleaseRow.number))
    return [_release(row) for row in await s.scalars(query)]


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _release(row: ReleaseRow) -> Release:
    return Release(
        number=row.number or 0,
        sha256=row.sha256,
        model_version_id=row.model_version_id,
        prompt_version_id=row.prompt_version_id,
        sampling=msgspec.json.decode(row.sampling, type=Sampling),
        limits=msgspec.json.decode(row.limits, type=Limits),
        engine=msgspec.json.decode(row.engine, type=Engine),
        worker=row.worker,
        lane=row.lane,
        created_at_us=row.created_at_us,
        created_by=row.created_by,
        comment=row.comment,
    )
