"""What the node runs: each of its parts with its state, and the node itself.

The node writes; everybody reads. Whether a process really lives is the node's knowledge: after a
crash of the node the rows tell of the past until the next start repairs them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, moves


class Kind(StrEnum):
    """What a part does."""

    GATEWAY = "gateway"
    CONTROL = "control"
    RUNNER = "runner"
    WORKER = "worker"


class State(StrEnum):
    """Where a part stands. Only the node moves it.

    STARTING: declared when the node spawns it. A crash of the node leaves it here with a process
        that the kernel ends with the node; `repair` makes it crashed.
    READY: it said that it can do its work. The same crash leaves the same.
    DRAINING: it was told to leave and finishes what it began; after a crash of the node it has
        ended unfinished, and `repair` makes it crashed.
    STOPPED: it left as it was told. It may be started again.
    CRASHED: it ended, or was ended, without being told; `reason` says how. The node starts it
        again after a pause, or has given it up and says so in the reason.
    """

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    CRASHED = "crashed"


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
    """A part as it is kept."""

    __tablename__: ClassVar[str] = "processes"

    name: str = Field(primary_key=True)
    kind: str
    pid: int | None
    state: str
    reason: str | None
    started_at_us: int
    restarts: int
    model_version_id: int | None
    sha256: str | None
    build: str | None


class NodeRow(SQLModel, table=True):
    """A run of the node as it is kept."""

    __tablename__: ClassVar[str] = "nodes"

    id: int | None = Field(default=None, primary_key=True)
    pid: int
    started_at_us: int
    host: str
    version: str
    stopped_at_us: int | None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A part. `sha256` and `build` are what a worker reports that it has loaded."""

    name: str
    kind: Kind
    pid: int | None
    state: State
    reason: str | None
    started_at_us: int
    restarts: int
    model_version_id: int | None
    sha256: str | None
    build: str | None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the node; without `stopped_at_us` it runs, or ended without a word."""

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
    pid: int | None = None,
    restarts: int = 0,
    model_version_id: int | None = None,
) -> None:
    """A part is being started, for the first time or again: it is STARTING from now on."""
    row = await s.get(ProcessRow, name)
    fresh: dict[str, Any] = {
        "kind": Kind(kind).value,
        "pid": pid,
        "reason": None,
        "started_at_us": at_us,
        "restarts": restarts,
        "model_version_id": model_version_id,
        "sha256": None,
        "build": None,
    }
    if row is None:
        s.add(ProcessRow(name=name, state=State.STARTING.value, **fresh))
        await s.flush()
        return
    if State(row.state) in _LIVE:  # its end was never written: a fact that was lost
        await move(s, name, State.CRASHED, at_us=at_us, reason="its end was not seen")
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
    """Take a part from where it stands to `to`; to where it stands already changes no state.

    `changes` are other fields: pid, restarts, sha256, build, model_version_id.

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
        changes = {"pid": None, **changes}
    await moves.move(
        s, MOVES, ProcessRow, name, frm, to,
        actor="node", at_us=at_us, changes={"reason": reason, **changes},
    )  # fmt: skip


async def forget(s: AsyncSession, name: str) -> None:
    """Remove a part that is no longer wanted; unknown is fine."""
    row = await s.get(ProcessRow, name)
    if row is not None:
        await s.delete(row)
        await s.flush()


async def every(s: AsyncSession) -> list[Process]:
    """All parts by name."""
    query = select(ProcessRow).order_by(col(ProcessRow.name))
    return [msgspec.convert(row, Process, from_attributes=True) for row in await s.scalars(query)]


async def repair(s: AsyncSession, at_us: int) -> list[str]:
    """For the node's start: what a dead node left as alive has crashed; the names of those."""
    left = [process.name for process in await every(s) if process.state in _LIVE]
    for name in left:
        await move(s, name, State.CRASHED, at_us=at_us, reason="the node ended without stopping it")
    return left


async def node_started(s: AsyncSession, *, pid: int, at_us: int, host: str, version: str) -> None:
    """A node has taken the home."""
    s.add(NodeRow(pid=pid, started_at_us=at_us, host=host, version=version, stopped_at_us=None))
    await s.flush()


async def node_stopped(s: AsyncSession, *, at_us: int) -> None:
    """The node leaves as it should."""
    row = await _node(s)
    if row is not None:
        row.stopped_at_us = at_us
        await s.flush()


async def node_now(s: AsyncSession) -> Node | None:
    """The newest run of the node, None when there was none yet."""
    row = await _node(s)
    return None if row is None else msgspec.convert(row, Node, from_attributes=True)


async def _node(s: AsyncSession) -> NodeRow | None:
    return (await s.scalars(select(NodeRow).order_by(col(NodeRow.id).desc()).limit(1))).first()
