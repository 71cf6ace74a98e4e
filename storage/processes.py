"""The processes that the node supervises, each with its state, and the runs of the node itself.

Written by the node, read by every package. After a crash of the node the rows are stale until its
next start repairs them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, ledger, moves
from storage.loaded import Loaded


class Kind(StrEnum):
    """What a process is for."""

    GATEWAY = "gateway"
    CONTROL = "control"
    RUNNER = "runner"
    READS = "reads"
    WORKER = "worker"
    SERVER = "server"

    @property
    def is_instance(self) -> bool:
        """Whether it is an instance of a deployment, rather than a process of the node's own."""
        return self in {Kind.WORKER, Kind.SERVER}


class State(StrEnum):
    """The life of a supervised process. Only the node moves it.

    STARTING: the node has spawned it. After a crash of the node the kernel ends the process with
        it, and `repair` moves the row to crashed.
    READY: it has reported that it can do its work. A crash of the node leaves the same.
    DRAINING: it was asked to exit and finishes the work it has; it takes no new work. After a
        crash of the node it has ended unfinished, and `repair` moves the row to crashed.
    STOPPED: it exited as asked. It may be started again.
    CRASHED: it exited, or was killed, without being asked to exit; `reason` says how. The node
        starts it again after a pause, or has given up and says so in the reason.
    """

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    CRASHED = "crashed"


_ENTRIES: Final = 20
_LIVE: Final = (State.STARTING, State.READY, State.DRAINING)

MOVES: Final = moves.Table(
    noun="process",
    column="state",
    begins=frozenset({State.STARTING}),
    legal={
        State.STARTING: frozenset({State.READY, State.DRAINING, State.STOPPED, State.CRASHED}),
        State.READY: frozenset({State.DRAINING, State.STOPPED, State.CRASHED}),
        State.DRAINING: frozenset({State.STOPPED, State.CRASHED}),
        State.STOPPED: frozenset({State.STARTING}),
        State.CRASHED: frozenset({State.STARTING, State.STOPPED}),
    },
)


class ProcessRow(SQLModel, table=True):
    """A process as it is stored."""

    __tablename__: ClassVar[str] = "processes"

    name: str = Field(primary_key=True)
    kind: str
    deployment: str | None
    pid: int | None
    state: str
    reason: str | None
    started_at_us: int
    restarts: int
    model_version_id: int | None
    sha256: str | None
    build: str | None
    silent_since_us: int | None
    starts_at_us: int | None
    loaded: str | None


class NodeRow(SQLModel, table=True):
    """A run of the node as it is stored."""

    __tablename__: ClassVar[str] = "nodes"

    id: int | None = Field(default=None, primary_key=True)
    pid: int
    started_at_us: int
    host: str
    version: str
    stopped_at_us: int | None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A supervised process.

    `deployment` is given for an instance, whose name is `<deployment>:<n>`. `sha256` and `build`
    are what an instance reports to have loaded, `loaded` the evidence. `silent_since_us` is given
    for a READY process that has sent no heartbeat since then, or made no progress with the work
    that it has; `reason` says which. It is not answering, and unless it recovers the node kills it.
    `starts_at_us` is given for a CRASHED process that the node will start again: when.
    """

    name: str
    kind: Kind
    deployment: str | None
    pid: int | None
    state: State
    reason: str | None
    started_at_us: int
    restarts: int
    model_version_id: int | None
    sha256: str | None
    build: str | None
    silent_since_us: int | None = None
    starts_at_us: int | None = None
    loaded: Loaded | None = None


class NodeRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the node; without `stopped_at_us` it is running, or it crashed."""

    pid: int
    started_at_us: int
    host: str
    version: str
    stopped_at_us: int | None


async def declare(
    s: AsyncSession,
    *,
    name: str,
    kind: Kind,
    at_us: int,
    deployment: str | None = None,
    pid: int | None = None,
    restarts: int = 0,
    model_version_id: int | None = None,
) -> None:
    """Record that a process is being started, for the first time or again: it is STARTING."""
    row = await s.get(ProcessRow, name)
    fresh: dict[str, Any] = {
        "kind": Kind(kind).value,
        "deployment": deployment,
        "pid": pid,
        "reason": None,
        "started_at_us": at_us,
        "restarts": restarts,
        "model_version_id": model_version_id,
        "sha256": None,
        "build": None,
        "silent_since_us": None,
        "starts_at_us": None,
        "loaded": None,
    }
    if row is None:
        s.add(ProcessRow(name=name, state=State.STARTING.value, **fresh))
        await s.flush()
        return
    if State(row.state) in _LIVE:  # its end was never recorded
        await move(s, name, State.CRASHED, at_us=at_us, reason="its end was not observed")
    await moves.move(
        s, MOVES, ProcessRow, name, State(row.state), State.STARTING,
        actor="node", at_us=at_us, changes=fresh,
    )  # fmt: skip


async def move(
    s: AsyncSession,
    name: str,
    to: State,
    *,
    at_us: int,
    reason: str | None = None,
    **changes: Any,
) -> None:
    """Move a process to a state; if it is there already only the other fields are written.

    `changes` are other fields: pid, restarts, sha256, build, model_version_id, silent_since_us,
    starts_at_us.

    Raises:
        NotFound: it was not declared.
        Invalid: the move is not legal.
    """
    row = await s.get(ProcessRow, name)
    if row is None:
        raise errors.unknown("process", name, [each.name for each in await every(s)])
    if (frm := State(row.state)) is to:
        for field, value in {"reason": reason, **changes}.items():
            setattr(row, field, value)
        await s.flush()
        return
    if to in {State.STOPPED, State.CRASHED}:
        changes = {"pid": None, "silent_since_us": None, **changes}
    await moves.move(
        s, MOVES, ProcessRow, name, frm, to,
        actor="node", at_us=at_us, changes={"reason": reason, **changes}, reason=reason,
    )  # fmt: skip


async def forget(s: AsyncSession, name: str) -> None:
    """Remove the row of a process that is no longer wanted; an unknown name is no error."""
    row = await s.get(ProcessRow, name)
    if row is not None:
        await s.delete(row)
        await s.flush()


async def every(s: AsyncSession) -> list[Process]:
    """All processes by name."""
    query = select(ProcessRow).order_by(col(ProcessRow.name))
    return [_process(row) for row in await s.scalars(query)]


def _process(row: ProcessRow) -> Process:
    kept = {field: getattr(row, field) for field in Process.__struct_fields__}
    kept["loaded"] = None if row.loaded is None else msgspec.json.decode(row.loaded, type=Loaded)
    return msgspec.convert(kept, Process)


async def last_start_us(s: AsyncSession, name: str) -> int | None:
    """How long a process took from its start to readiness the last time; None: not known."""
    ready_us = None
    for entry in await ledger.of(s, "process", name, limit=_ENTRIES):
        if entry.after == State.READY:
            ready_us = entry.at_us
        elif entry.after == State.STARTING and ready_us is not None:
            return ready_us - entry.at_us
    return None


async def last_death(s: AsyncSession, name: str) -> str:
    """Why a process crashed the last time; "" if it never did, or long ago."""
    for entry in await ledger.of(s, "process", name, limit=_ENTRIES):
        if entry.after == State.CRASHED.value:
            return entry.reason
    return ""


async def repair(s: AsyncSession, at_us: int) -> list[str]:
    """When the node starts: what a dead node left alive has crashed; the names of those."""
    left = [process.name for process in await every(s) if process.state in _LIVE]
    for name in left:
        await move(s, name, State.CRASHED, at_us=at_us, reason="the node ended without stopping it")
    return left


async def node_started(s: AsyncSession, *, pid: int, at_us: int, host: str, version: str) -> None:
    """Record that a node has started."""
    s.add(NodeRow(pid=pid, started_at_us=at_us, host=host, version=version, stopped_at_us=None))
    await s.flush()


async def node_stopped(s: AsyncSession, *, at_us: int) -> None:
    """Record that the node has stopped in order."""
    row = await _node(s)
    if row is not None:
        row.stopped_at_us = at_us
        await s.flush()


async def node_now(s: AsyncSession) -> NodeRun | None:
    """The latest run of the node; None before the first."""
    row = await _node(s)
    return None if row is None else msgspec.convert(row, NodeRun, from_attributes=True)


async def _node(s: AsyncSession) -> NodeRow | None:
    return (await s.scalars(select(NodeRow).order_by(col(NodeRow.id).desc()).limit(1))).first()
