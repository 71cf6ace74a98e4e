"""Live knobs of deployments: what was set, by whom, and the value before.

Rows are only added; the newest of a name is the current setting. The scheduler decides what a knob
does. Read by every package, written by `engine.control`.
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
        "prefix_cache": (0, 1),
        "prefill_ms": (0, 10_000),
        "prefill_every": (1, 1000),
        "backend_sampling": (0, 2),
    }
)

# The values of knobs that were never set; max_running and prefill_budget follow the release.
DEFAULTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "max_tokens_cap": 131_072,
        "queue_limit": 256,
        "queue_tokens_limit": 262_144,
        "weight_interactive": 100,
        "weight_batch": 30,
        "weight_background": 10,
        "prefix_cache": 1,
        "prefill_ms": 180,
        "prefill_every": 32,
        "backend_sampling": 1,
    }
)


class KnobRow(SQLModel, table=True):
    """The row of a setting."""

    __tablename__: ClassVar[str] = "knobs"

    id: int | None = Field(default=None, primary_key=True)
    deployment: str
    name: str
    value: int
    previous: int | None
    set_at_us: int
    set_by: str
    intent_id: int | None
    undoes: int | None = None


class Knob(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of a knob, with the value before; `undoes` is the setting that it took back."""

    id: int
    deployment: str
    name: str
    value: int
    previous: int | None
    set_at_us: int
    set_by: str
    intent_id: int | None
    undoes: int | None


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
    deployment: str,
    name: str,
    value: int,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    expected_version: int | None = None,
) -> Knob:
    """Set a knob of a deployment. `expected_version` is the id of its setting, 0 for none.

    Raises:
        Invalid: there is no such knob, or the value is out of its range.
        Moved: the knob was set since.
        NotFound: there is no such deployment.
    """
    check(name, value)
    if expected_version is not None:
        newest = await current(s, deployment, name)
        if expected_version != (0 if newest is None else newest.id):
            raise errors.Moved(_moved(deployment, name, newest))
    room = (await _engine(s, deployment)).max_sequences
    if name == "max_running" and value > room:
        raise errors.Invalid(
            f"{deployment} was loaded with room for {room} sequences, so max_running is 1 to "
            f"{room}; a release with more `--max-sequences` gets a deployment of its own."
        )
    return await _set(s, "knobs.set", deployment, name, value, actor, at_us, intent_id)


async def undo(
    s: AsyncSession,
    *,
    deployment: str,
    name: str,
    setting: int,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> Knob:
    """Set the value from before a setting; a setting that was undone already stays undone.

    Raises:
        Invalid: the knob was never set.
        Moved: the knob was set since.
    """
    newest = await current(s, deployment, name)
    if newest is None or newest.previous is None:
        raise errors.Invalid(f"{name} of {deployment} was never set; there is nothing to undo.")
    if newest.undoes == setting:
        return newest
    if newest.id != setting:
        raise errors.Moved(_moved(deployment, name, newest))
    return await _set(
        s, "knobs.undo", deployment, name, newest.previous, actor, at_us, intent_id, undoes=setting
    )


async def of_intent(s: AsyncSession, deployment: str, name: str, intent_id: int) -> int:
    """The setting of a knob that was made for an intent, by its id.

    Raises:
        Invalid: the intent did not set it.
    """
    query = select(col(KnobRow.id)).where(
        col(KnobRow.deployment) == deployment,
        col(KnobRow.name) == name,
        col(KnobRow.intent_id) == intent_id,
    )
    found = (await s.scalars(query)).first()
    if found is None:
        raise errors.Invalid(f"Intent {intent_id} did not set {name} of {deployment}.")
    return found


async def current(s: AsyncSession, deployment: str, name: str) -> Knob | None:
    """The newest setting of a knob; None if it was never set."""
    row = await _newest(s, deployment, name)
    return None if row is None else _knob(row)


async def of(s: AsyncSession, deployment: str) -> dict[str, int]:
    """The values of the knobs that were ever set; the others follow the deployment's settings."""
    newest = (
        select(func.max(col(KnobRow.id)))
        .where(col(KnobRow.deployment) == deployment)
        .group_by(col(KnobRow.name))
    )
    query = select(KnobRow).where(col(KnobRow.id).in_(newest)).order_by(col(KnobRow.name))
    return {row.name: row.value for row in await s.scalars(query)}


async def _set(
    s: AsyncSession,
    verb: str,
    deployment: str,
    name: str,
    value: int,
    actor: str,
    at_us: int,
    intent_id: int | None,
    undoes: int | None = None,
) -> Knob:
    default = await _default(s, deployment, name)
    newest = await _newest(s, deployment, name)
    row = KnobRow(
        deployment=deployment,
        name=name,
        value=value,
        previous=default if newest is None else newest.value,
        set_at_us=at_us,
        set_by=actor,
        intent_id=intent_id,
        undoes=undoes,
    )
    s.add(row)
    await s.flush()
    await ledger.write(
        s, actor=actor, verb=verb, noun="knob", key=f"{deployment} {name}",
        before=row.previous, after=value, at_us=at_us, intent_id=intent_id,
    )  # fmt: skip
    return _knob(row)


def defaults(engine: releases.Engine) -> dict[str, int]:
    """The values of knobs that were never set, of a deployment with these settings."""
    return {
        **DEFAULTS,
        "max_running": engine.max_sequences,
        "prefill_budget": engine.prefill_budget,
    }


async def _default(s: AsyncSession, deployment: str, name: str) -> int:
    return defaults(await _engine(s, deployment))[name]


async def _engine(s: AsyncSession, deployment: str) -> releases.Engine:
    engine = (await deployments.find(s, deployment)).engine
    if engine is None:
        raise errors.Invalid(f"{deployment} is not a local deployment, so it has no knobs.")
    return engine


async def _newest(s: AsyncSession, deployment: str, name: str) -> KnobRow | None:
    query = (
        select(KnobRow)
        .where(col(KnobRow.deployment) == deployment, col(KnobRow.name) == name)
        .order_by(col(KnobRow.id).desc())
        .limit(1)
    )
    return (await s.scalars(query)).first()


def _moved(deployment: str, name: str, newest: Knob | None) -> str:
    now = "was never set" if newest is None else f"is {newest.value}, set by {newest.set_by}"
    return f"{name} of {deployment} changed since you looked: it {now}. Look again."


def _knob(row: KnobRow) -> Knob:
    return msgspec.convert(row, Knob, from_attributes=True)
