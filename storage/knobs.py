"""Live knobs of workers: what was set, by whom, and what it was before.

Rows are only added; the newest of a name counts. What a knob does is the scheduler's business.
Read by everybody, written by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import deployments, errors, ledger, releases

NAMES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {  # the range of each, both ends allowed
        "max_running": (1, 256),
        "prefill_budget": (16, 8192),
        "max_tokens_cap": (1, 131_072),
        "queue_limit": (0, 10_000),
        "queue_tokens_limit": (0, 100_000_000),
        "weight_interactive": (1, 1000),
        "weight_batch": (1, 1000),
        "weight_background": (1, 1000),
    }
)

# Where a knob stands that nobody has touched; the first two follow the release's engine settings.
UNTOUCHED: Final[Mapping[str, int]] = MappingProxyType(
    {
        "max_tokens_cap": 131_072,
        "queue_limit": 256,
        "queue_tokens_limit": 262_144,
        "weight_interactive": 100,
        "weight_batch": 30,
        "weight_background": 10,
    }
)


class KnobRow(SQLModel, table=True):
    """A setting as it is kept."""

    __tablename__: ClassVar[str] = "knobs"

    id: int | None = Field(default=None, primary_key=True)
    worker: str
    name: str
    value: int
    previous: int | None
    set_at_us: int
    set_by: str
    intent_id: int | None


class Knob(msgspec.Struct, frozen=True, kw_only=True):
    """A knob that was set, with the value that stood before."""

    worker: str
    name: str
    value: int
    previous: int | None
    set_at_us: int
    set_by: str
    intent_id: int | None


def check(name: str, value: int) -> None:
    """Invalid unless there is such a knob and the value is in its range."""
    if name not in NAMES:
        raise errors.Invalid(f"There is no knob {name}; there are {', '.join(NAMES)}.")
    low, high = NAMES[name]
    if not low <= value <= high:
        raise errors.Invalid(f"{name} is {low} to {high}, not {value}.")


async def set(
    s: AsyncSession,
    *,
    worker: str,
    name: str,
    value: int,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Knob:
    """Set a knob of a worker.

    Raises:
        Invalid: there is no such knob, or the value is out of its range or of the worker's room.
        NotFound: no release is served by such a worker.
    """
    check(name, value)
    room = (await _engine(s, worker)).max_sequences
    if name == "max_running" and value > room:
        raise errors.Invalid(
            f"{worker} was loaded with room for {room} sequences, so max_running is 1 to {room}; "
            "a release with more `--max-sequences` gets a worker of its own."
        )
    return await _set(s, "knobs.set", worker, name, value, actor, at_us, intent_id)


async def undo(
    s: AsyncSession,
    *,
    worker: str,
    name: str,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Knob:
    """Set the value that stood before this one; twice is as if never.

    Raises:
        Invalid: the knob was never set.
    """
    newest = await _newest(s, worker, name)
    if newest is None or newest.previous is None:
        raise errors.Invalid(f"{name} of {worker} was never set; there is nothing to undo.")
    return await _set(s, "knobs.undo", worker, name, newest.previous, actor, at_us, intent_id)


async def of(s: AsyncSession, worker: str) -> dict[str, int]:
    """The knobs of a worker that were ever set; the others stand where its release has them."""
    newest = (
        select(func.max(col(KnobRow.id)))
        .where(col(KnobRow.worker) == worker)
        .group_by(col(KnobRow.name))
    )
    query = select(KnobRow).where(col(KnobRow.id).in_(newest)).order_by(col(KnobRow.name))
    return {row.name: row.value for row in await s.scalars(query)}


async def _set(
    s: AsyncSession,
    verb: str,
    worker: str,
    name: str,
    value: int,
    actor: str,
    at_us: int,
    intent_id: int | None,
) -> Knob:
    untouched = await _untouched(s, worker, name)
    newest = await _newest(s, worker, name)
    row = KnobRow(
        worker=worker,
        name=name,
        value=value,
        previous=untouched if newest is None else newest.value,
        set_at_us=at_us,
        set_by=actor,
        intent_id=intent_id,
    )
    s.add(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb=verb, noun="knob", key=f"{worker} {name}",
        before=row.previous, after=value, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return _knob(row)


async def _untouched(s: AsyncSession, worker: str, name: str) -> int:
    engine = await _engine(s, worker)
    if name in UNTOUCHED:
        return UNTOUCHED[name]
    return {"max_running": engine.max_sequences, "prefill_budget": engine.prefill_budget}[name]


async def _engine(s: AsyncSession, worker: str) -> releases.Engine:
    engine = (await deployments.find(s, worker)).engine
    if engine is None:
        raise errors.Invalid(f"{worker} is no local deployment, so it has no knobs.")
    return engine


async def _newest(s: AsyncSession, worker: str, name: str) -> KnobRow | None:
    query = (
        select(KnobRow)
        .where(col(KnobRow.worker) == worker, col(KnobRow.name) == name)
        .order_by(col(KnobRow.id).desc())
        .limit(1)
    )
    return (await s.scalars(query)).first()


def _knob(row: KnobRow) -> Knob:
    return msgspec.convert(row, Knob, from_attributes=True)
