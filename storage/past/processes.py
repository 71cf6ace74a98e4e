"""Whether the node ran at a past moment, and the states of the processes that it supervised.

Imported by `app`.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import deployments, processes, samples
from storage.ledger import Entry, LedgerRow
from storage.past import entries
from storage.processes import Kind, NodeRow, NodeRun, Process, State

_SECOND_US: Final = 1_000_000
_SILENT_US: Final = 15 * _SECOND_US
"""Control measures the host every second; for longer than this it did not run."""


class NodeThen(msgspec.Struct, frozen=True, kw_only=True):
    """The newest run of the node up to a moment; `alive` is None where nothing tells."""

    run: NodeRun | None
    alive: bool | None


async def node(s: AsyncSession, at_us: int, seconds_from_s: int = 0) -> NodeThen:
    """The run of the node, and whether it lived.

    A run that was not ended in order lived for as long as it left signs of life: samples, of which
    those before `seconds_from_s` are deleted, and moves of its processes.
    """
    started = col(NodeRow.started_at_us)
    query = select(NodeRow).where(started <= at_us).order_by(col(NodeRow.id).desc()).limit(1)
    row = (await s.scalars(query)).first()
    if row is None:
        return NodeThen(run=None, alive=False)
    stopped_us = row.stopped_at_us
    run = NodeRun(
        pid=row.pid, started_at_us=row.started_at_us, host=row.host, version=row.version,
        stopped_at_us=stopped_us if stopped_us is not None and stopped_us <= at_us else None,
    )  # fmt: skip
    if stopped_us is not None:
        return NodeThen(run=run, alive=stopped_us > at_us)
    following = select(func.min(started)).where(col(NodeRow.id) > row.id)
    next_us = (await s.execute(following)).scalar()
    signs = [await _newest_move(s, row.started_at_us, next_us)]
    end_s = (at_us + _SILENT_US) // _SECOND_US
    if next_us is not None:
        end_s = min(end_s, next_us // _SECOND_US - 1)
    if (second := await samples.newest(s, end_s)) is not None:
        signs.append((second + 1) * _SECOND_US)
    if at_us <= max(*signs, row.started_at_us) + _SILENT_US:
        return NodeThen(run=run, alive=True)
    return NodeThen(run=run, alive=None if at_us // _SECOND_US < seconds_from_s else False)


async def every(s: AsyncSession, run: NodeRun | None, at_us: int) -> list[Process]:
    """The processes that were starting, ready, draining or crashed, by name.

    Process ids, heartbeats and what was loaded are not recorded.
    """
    if run is None:
        return []
    now = {each.name: each for each in await processes.every(s)}
    servers = {each.name for each in await deployments.every(s) if each.server is not None}
    since_us = run.started_at_us
    starting = [State.STARTING.value]
    begun = await entries.last(s, "process", at_us, since_us=since_us, verbs=starting)
    of: dict[str, list[Entry]] = {entry.key: [entry] for entry in begun}
    for entry in await entries.last(s, "process", at_us, since_us=since_us):
        of.setdefault(entry.key, []).append(entry)
    later = await entries.following(s, "process", at_us, [state.value for state in State])
    again = await _restarts(s, since_us, at_us)
    found = []
    for name, known in sorted(of.items()):
        last, state = known[-1], State(known[-1].after)
        if state is State.STOPPED:
            continue
        if state is State.CRASHED and name not in now and name not in later:
            continue  # it was not wanted any more
        started = next((each.at_us for each in known if each.after == State.STARTING), since_us)
        found.append(
            Process(
                name=name,
                kind=now[name].kind if name in now else _kind(name, servers),
                deployment=samples.deployment(name) if ":" in name else None,
                pid=None,
                state=state,
                reason=last.reason or None,
                started_at_us=started,
                restarts=again.get(name, 0),
                model_version_id=None,
                sha256=None,
                build=None,
            )
        )
    return found


def _kind(name: str, servers: set[str]) -> Kind:
    if name in {kind.value for kind in Kind}:
        return Kind(name)
    return Kind.SERVER if samples.deployment(name) in servers else Kind.WORKER


async def _newest_move(s: AsyncSession, since_us: int, next_us: int | None) -> int:
    at = col(LedgerRow.at_us)
    query = select(at).where(col(LedgerRow.noun) + "" == "process", at >= since_us)  # by the time
    if next_us is not None:
        query = query.where(at < next_us)
    return (await s.execute(query.order_by(at.desc()).limit(1))).scalar() or 0


async def _restarts(s: AsyncSession, since_us: int, at_us: int) -> dict[str, int]:
    """How often each was started again after a crash; the ledger has an index for it."""
    query = (
        select(col(LedgerRow.key), func.count(col(LedgerRow.id)))
        .where(
            col(LedgerRow.noun) == "process",
            text(f"before = '\"{State.CRASHED.value}\"'"),  # as the index has it, no parameter
            col(LedgerRow.after) == f'"{State.STARTING.value}"',
            col(LedgerRow.at_us).between(since_us + _SILENT_US, at_us),
        )
        .group_by(col(LedgerRow.key))
    )
    return {row[0]: row[1] for row in await s.execute(query)}
