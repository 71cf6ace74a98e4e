"""The rows of deployments, as records, and how they are found.

Imported by `storage.deployments`, which changes them, and through it by every package.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import ClassVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, release_content, unknown_names
from storage.release_content import Engine, Server
from storage.store import stream


class Backend(StrEnum):
    """What computes the tokens."""

    LOCAL = "local"
    UPSTREAM = "upstream"
    SERVER = "server"


class Status(StrEnum):
    """Whether the node may run instances of a deployment.

    ACTIVE: instances run while a split names it. A crash of any process leaves it here.
    FAILING: the node moved it here because its instances died again and again while serving, with
        the evidence. No instance is started until an operator restarts the deployment or its
        model file is added again. If the node dies before it wrote this, the deaths after its
        next start lead to the same verdict.
    """

    ACTIVE = "active"
    FAILING = "failing"


def instance(deployment: str, number: int) -> str:
    """The name of an instance: `ops-1.0.0:1`. Instances are numbered from 1."""
    return f"{deployment}:{number}"


class DeploymentRow(SQLModel, table=True):
    """A deployment as it is stored; its settings are JSON."""

    __tablename__: ClassVar[str] = "deployments"

    name: str = Field(primary_key=True)
    backend: str
    identity: str
    weights: str | None
    engine: str | None
    upstream: str | None
    server: str | None
    replicas: int
    status: str
    status_reason: str | None
    created_at_us: int


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment.

    `weights` is the SHA-256 of the model file that its instances load; exactly one of `engine`,
    `upstream` (the name of a registered server) and `server` is given. `replicas` is the number of
    instances that are wanted.
    """

    name: str
    backend: Backend
    weights: str | None
    engine: Engine | None
    upstream: str | None
    server: Server | None
    replicas: int
    status: Status
    status_reason: str | None
    created_at_us: int

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of the instances that are wanted; an upstream runs none here."""
        if self.backend is Backend.UPSTREAM:
            return ()
        return tuple(instance(self.name, n) for n in range(1, self.replicas + 1))

    @property
    def max_sequences(self) -> int | None:
        """How many sequences one instance runs at once; None where an upstream decides."""
        settings = self.engine or self.server
        return None if settings is None else settings.max_sequences


async def find(s: AsyncSession, name: str) -> Deployment:
    """By its name.

    Raises:
        NotFound: there is none; the message lists the known.
    """
    row = await s.get(DeploymentRow, name)
    if row is None:
        known = select(col(DeploymentRow.name)).order_by(col(DeploymentRow.name))
        raise await unknown_names.refusal(s, "deployment", name, known)
    return record(row)


async def resolve(s: AsyncSession, name: str) -> Deployment:
    """By its name, or by the beginning of exactly one name: `ops` for `ops-1.0.0`.

    Raises:
        NotFound: no name begins so, or several do; the message lists them.
    """
    return called(name, await every(s))


def called(name: str, known: Collection[Deployment]) -> Deployment:
    """The one of several that has this name, or whose name alone begins so.

    Raises:
        NotFound: no name begins so, or several do; the message lists them.
    """
    exact = [each for each in known if each.name == name]
    fitting = exact or [each for each in known if name and each.name.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(each.name for each in fitting)
        raise errors.NotFound(f"Several deployments begin with {name}: {names}.")
    raise errors.unknown("deployment", name, [each.name for each in known])


async def every(s: AsyncSession, named: Collection[str] | None = None) -> list[Deployment]:
    """All deployments, or those with these names, by name; whether a split names them or not."""
    query = select(DeploymentRow).order_by(col(DeploymentRow.name))
    if named is not None:
        query = query.where(col(DeploymentRow.name).in_(named))
    return [record(row) async for (row,) in stream(s, query)]


def record(row: DeploymentRow) -> Deployment:
    """The deployment of its row."""
    return Deployment(
        name=row.name,
        backend=Backend(row.backend),
        weights=row.weights,
        engine=None if row.engine is None else release_content.loaded(row.engine, Engine),
        upstream=row.upstream,
        server=None if row.server is None else release_content.loaded(row.server, Server),
        replicas=row.replicas,
        status=Status(row.status),
        status_reason=row.status_reason,
        created_at_us=row.created_at_us,
    )
