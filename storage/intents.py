"""Intents: what somebody wants, why, and which version of the world they saw; and how it ended.

The door accepts them; who claims one decides, acts, and says how it ended. None is ever removed.
Read by everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, moves


class State(StrEnum):
    """Where an intent stands.

    ACCEPTED: the node stored it before it told the person so. Any crash leaves it here, and it is
        claimed later.
    CLAIMED: control or the runner took it to decide and act. If that process dies, its next start
        puts the intent back (`reclaim`); so what is done for an intent is done in the transaction
        that ends it, or can be done twice.
    APPLIED: it was done; `outcome` tells what. Nothing follows.
    REFUSED: it was decided against, by a rule or because the world had moved; `outcome` says why.
    FAILED: it was tried and did not work; `outcome` says what happened.
    """

    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"


MOVES: Final = moves.Table(
    noun="intent",
    column="state",
    begins=frozenset({State.ACCEPTED}),
    legal={
        State.ACCEPTED: frozenset({State.CLAIMED}),
        State.CLAIMED: frozenset({State.APPLIED, State.REFUSED, State.FAILED, State.ACCEPTED}),
        State.APPLIED: frozenset(),
        State.REFUSED: frozenset(),
        State.FAILED: frozenset(),
    },
)


class IntentRow(SQLModel, table=True):
    """An intent as it is kept; its arguments are JSON."""

    __tablename__: ClassVar[str] = "intents"

    id: int | None = Field(default=None, primary_key=True)
    at_us: int
    actor: str
    role: str
    verb: str
    target: str
    arguments: str
    reason: str
    seen: int | None
    state: str
    outcome: str | None
    claimed_by: str | None
    ended_at_us: int | None
    behalf: int | None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """One intent. `role` is the actor's at the time; `seen` is the version of the target.

    `behalf` is the intent of the run for which the runner asked; None for what a person asked.
    """

    id: int
    at_us: int
    actor: str
    role: str
    verb: str
    target: str
    arguments: dict[str, Any]
    reason: str
    seen: int | None
    state: State
    outcome: str | None
    claimed_by: str | None
    ended_at_us: int | None
    behalf: int | None


async def accept(
    s: AsyncSession,
    *,
    actor: str,
    role: str,
    verb: str,
    target: str,
    arguments: Mapping[str, Any],
    reason: str = "",
    seen: int | None = None,
    at_us: int,
    behalf: int | None = None,
) -> int:
    """Store an intent and return its id; write it durably before telling anybody.

    What a run asks for, it asks for once: the same `reason` on the same `behalf` is the intent
    that was stored before, whatever has become of it.
    """
    if behalf is not None and (before := await _asked(s, behalf, reason)) is not None:
        return before
    row = IntentRow(
        at_us=at_us,
        actor=actor,
        role=str(role),
        verb=verb,
        target=target,
        arguments=msgspec.json.encode(dict(arguments)).decode(),
        reason=reason,
        seen=seen,
        state=State.ACCEPTED.value,
        outcome=None,
        claimed_by=None,
        ended_at_us=None,
        behalf=behalf,
    )
    s.add(row)
    await s.flush()
    return row.id or 0


async def claim(s: AsyncSession, *, verbs: Collection[str], by: str, at_us: int) -> Intent | None:
    """Take the oldest accepted intent with one of these verbs; None when there is none."""
    query = (
        select(col(IntentRow.id))
        .where(col(IntentRow.state) == State.ACCEPTED.value, col(IntentRow.verb).in_(list(verbs)))
        .order_by(col(IntentRow.id))
        .limit(1)
    )
    id = (await s.execute(query)).scalar()
    if id is None:
        return None
    await moves.move(
        s, MOVES, IntentRow, id, State.ACCEPTED, State.CLAIMED,
        actor=by, at_us=at_us, intent_id=id, changes={"claimed_by": by},
    )  # fmt: skip
    return await find(s, id)


async def end(
    s: AsyncSession, id: int, state: State, outcome: str, at_us: int, *, by: str | None = None
) -> None:
    """Say how a claimed intent ended; best in the transaction of what was done for it.

    Raises:
        Moved: it is not claimed (any more), or not by `by`.
        Invalid: the state is not one that ends it.
    """
    if state not in MOVES.ends():
        raise errors.Invalid(f"An intent does not end as {state}.")
    intent = await find(s, id)
    if by is not None and intent.claimed_by != by:
        raise errors.Moved(f"Intent {id} is claimed by {intent.claimed_by}, not by {by}.")
    await moves.move(
        s, MOVES, IntentRow, id, State.CLAIMED, state,
        actor=intent.claimed_by or "nobody", at_us=at_us, intent_id=id,
        changes={"outcome": outcome, "ended_at_us": at_us},
    )  # fmt: skip


async def reclaim(s: AsyncSession, by: str, at_us: int) -> list[int]:
    """At the start of `by`: put back what its dead predecessor had claimed; the ids of those."""
    query = select(col(IntentRow.id)).where(
        col(IntentRow.state) == State.CLAIMED.value, col(IntentRow.claimed_by) == by
    )
    left = [id for id in (await s.scalars(query.order_by(col(IntentRow.id)))) if id is not None]
    for id in left:
        await moves.move(
            s, MOVES, IntentRow, id, State.CLAIMED, State.ACCEPTED,
            actor=by, at_us=at_us, verb="reclaimed", intent_id=id, changes={"claimed_by": None},
        )  # fmt: skip
    return left


async def find(s: AsyncSession, id: int) -> Intent:
    """By its id."""
    row = await s.get(IntentRow, id, populate_existing=True)
    if row is None:
        raise errors.NotFound(f"There is no intent {id}; `paddock intents tail` shows the last.")
    return _intent(row)


async def tail(s: AsyncSession, limit: int = 100, before_id: int | None = None) -> list[Intent]:
    """The newest intents, newest first; with `before_id` those before that one."""
    query = select(IntentRow).order_by(col(IntentRow.id).desc()).limit(limit)
    if before_id is not None:
        query = query.where(col(IntentRow.id) < before_id)
    return [_intent(row) for row in await s.scalars(query)]


async def _asked(s: AsyncSession, behalf: int, reason: str) -> int | None:
    query = select(col(IntentRow.id)).where(
        col(IntentRow.behalf) == behalf, col(IntentRow.reason) == reason
    )
    return (await s.execute(query)).scalar()


def _intent(row: IntentRow) -> Intent:
    return Intent(
        id=row.id or 0,
        at_us=row.at_us,
        actor=row.actor,
        role=row.role,
        verb=row.verb,
        target=row.target,
        arguments=msgspec.json.decode(row.arguments, type=dict[str, Any]),
        reason=row.reason,
        seen=row.seen,
        state=State(row.state),
        outcome=row.outcome,
        claimed_by=row.claimed_by,
        ended_at_us=row.ended_at_us,
        behalf=row.behalf,
    )
