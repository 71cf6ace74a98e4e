"""Intents: what a person or a run asks for, why, the version they saw, and how it ended.

The control socket accepts them; the process that claims one decides, acts and records the outcome.
None is ever removed. Read by every package; written by the node, `engine.control` and the runner.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, moves


class State(StrEnum):
    """How far an intent is.

    ACCEPTED: the node stored it durably before acknowledging it. A crash leaves it here, and it is
        claimed later.
    CLAIMED: control or the runner claimed it to decide and act. If that process dies, its next
        start puts the intent back (`reclaim`); what is done for an intent is therefore done in the
        transaction that ends it, or is safe to do twice. Long work is claimed by a job, which is
        durable itself and ends the intent when it ends.
    APPLIED: it was carried out, or there was nothing to change; `outcome` says what. Final.
    REFUSED: a rule, or a change since the person looked, forbids it; `outcome` says why. Final.
    FAILED: it was tried and did not work; `outcome` says what happened. Final.
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
    """The row of an intent; its arguments are JSON."""

    __tablename__: ClassVar[str] = "intents"

    id: int | None = Field(default=None, primary_key=True)
    at_us: int
    actor: str
    role: str
    verb: str
    target: str
    arguments: str
    reason: str
    expected_version: int | None
    state: str
    outcome: str | None
    claimed_by: str | None
    ended_at_us: int | None
    on_behalf_of: int | None
    idempotency_key: str | None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """One intent. `role` is the actor's at the time.

    `expected_version` is the version of the target that the actor saw; None: whatever it is.
    `on_behalf_of` is the intent of the run for which the runner asked; None: a person asked.
    `idempotency_key` was chosen by the client; None for intents older than schema 7.
    """

    id: int
    at_us: int
    actor: str
    role: str
    verb: str
    target: str
    arguments: dict[str, Any]
    reason: str
    expected_version: int | None
    state: State
    outcome: str | None
    claimed_by: str | None
    ended_at_us: int | None
    on_behalf_of: int | None
    idempotency_key: str | None


async def accept(
    s: AsyncSession,
    *,
    actor: str,
    role: str,
    verb: str,
    target: str,
    arguments: Mapping[str, Any],
    reason: str = "",
    expected_version: int | None = None,
    at_us: int,
    on_behalf_of: int | None = None,
    idempotency_key: str | None = None,
) -> int:
    """Store an intent and return its id; write it durably before acknowledging it.

    A key that the actor used before, on behalf of the same run or of none, names the intent that
    was stored then, whatever its state and reason: asking again never acts twice.

    Raises:
        AlreadyExists: the key was used for another request.
    """
    if idempotency_key is not None:
        before = await by_key(s, idempotency_key, actor=actor, on_behalf_of=on_behalf_of)
        if before is not None:
            return _same(before, verb, target, arguments)
    row = IntentRow(
        at_us=at_us,
        actor=actor,
        role=str(role),
        verb=verb,
        target=target,
        arguments=msgspec.json.encode(dict(arguments)).decode(),
        reason=reason,
        expected_version=expected_version,
        state=State.ACCEPTED.value,
        outcome=None,
        claimed_by=None,
        ended_at_us=None,
        on_behalf_of=on_behalf_of,
        idempotency_key=idempotency_key,
    )
    s.add(row)
    await s.flush()
    return row.id or 0


async def unclaimed(s: AsyncSession, actor: str) -> int:
    """How many intents of an actor nothing has claimed yet."""
    query = select(func.count()).where(
        col(IntentRow.state) == State.ACCEPTED.value, col(IntentRow.actor) == actor
    )
    return int(await s.scalar(query) or 0)


async def waiting(s: AsyncSession, verbs: Collection[str]) -> Intent | None:
    """The oldest accepted intent with one of these verbs; None when there is none."""
    query = (
        select(IntentRow)
        .where(col(IntentRow.state) == State.ACCEPTED.value, col(IntentRow.verb).in_(list(verbs)))
        .order_by(col(IntentRow.id))
        .limit(1)
    )
    row = (await s.scalars(query.execution_options(populate_existing=True))).first()
    return None if row is None else _intent(row)


async def claim(s: AsyncSession, *, verbs: Collection[str], by: str, at_us: int) -> Intent | None:
    """Claim the oldest accepted intent with one of these verbs; None when there is none."""
    oldest = await waiting(s, verbs)
    return None if oldest is None else await claim_one(s, oldest.id, by=by, at_us=at_us)


async def claim_one(s: AsyncSession, id: int, *, by: str, at_us: int) -> Intent:
    """Claim an accepted intent.

    Raises:
        Moved: another process has claimed it.
    """
    await moves.move(
        s, MOVES, IntentRow, id, State.ACCEPTED, State.CLAIMED,
        actor=by, at_us=at_us, intent_id=id, changes={"claimed_by": by},
    )  # fmt: skip
    return await find(s, id)


async def end(
    s: AsyncSession, id: int, state: State, outcome: str, at_us: int, *, by: str | None = None
) -> None:
    """Record how a claimed intent ended, preferably in the transaction that carried it out.

    Raises:
        Moved: it is not claimed (any more), or not by `by`.
        Invalid: the state is not one that ends it.
    """
    if state not in MOVES.ends():
        raise errors.Invalid(f"{state} is not a final state of an intent.")
    intent = await find(s, id)
    if by is not None and intent.claimed_by != by:
        raise errors.Moved(f"Intent {id} is claimed by {intent.claimed_by}, not by {by}.")
    await moves.move(
        s, MOVES, IntentRow, id, State.CLAIMED, state,
        actor=intent.claimed_by or "node", at_us=at_us, intent_id=id,
        changes={"outcome": outcome, "ended_at_us": at_us},
    )  # fmt: skip


async def hand_over(s: AsyncSession, id: int, *, frm: str, to: str) -> None:
    """Leave a claimed intent to another claimer, which ends it.

    Raises:
        Moved: it is not claimed by `frm`.
    """
    intent = await find(s, id)
    if intent.state is not State.CLAIMED or intent.claimed_by != frm:
        raise errors.Moved(f"Intent {id} is {intent.state}, claimed by {intent.claimed_by}.")
    await s.execute(update(IntentRow).where(col(IntentRow.id) == id).values(claimed_by=to))


async def reclaim(s: AsyncSession, by: str, at_us: int) -> list[int]:
    """At the start of `by`: put back what its predecessor had claimed when it died; their ids."""
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


async def reasons(s: AsyncSession, ids: Iterable[int]) -> dict[int, str]:
    """The reasons that people gave, by the id of the intent; only those given."""
    query = select(col(IntentRow.id), col(IntentRow.reason)).where(
        col(IntentRow.id).in_(list(ids)), col(IntentRow.reason) != ""
    )
    return {row.id: row.reason for row in await s.execute(query)}


async def by_key(
    s: AsyncSession, key: str, *, actor: str | None = None, on_behalf_of: int | None = None
) -> Intent | None:
    """The intent that was stored under an idempotency key; without `actor`, of any person."""
    query = select(IntentRow).where(col(IntentRow.idempotency_key) == key)
    query = query.where(func.coalesce(col(IntentRow.on_behalf_of), 0) == (on_behalf_of or 0))
    if actor is not None:
        query = query.where(col(IntentRow.actor) == actor)
    row = (await s.scalars(query.order_by(col(IntentRow.id).desc()).limit(1))).first()
    return None if row is None else _intent(row)


async def tail(
    s: AsyncSession, limit: int = 100, before_id: int | None = None, until_us: int | None = None
) -> list[Intent]:
    """The newest intents, newest first; those before one, or those up to a moment."""
    query = select(IntentRow).order_by(col(IntentRow.id).desc()).limit(limit)
    if until_us is not None:
        query = query.where(col(IntentRow.at_us) <= until_us)
    if before_id is not None:
        query = query.where(col(IntentRow.id) < before_id)
    return [_intent(row) for row in await s.scalars(query)]


def _same(before: Intent, verb: str, target: str, arguments: Mapping[str, Any]) -> int:
    asked = msgspec.json.decode(msgspec.json.encode(dict(arguments)))
    if (before.verb, before.target, before.arguments) != (verb, target, asked):
        raise errors.AlreadyExists(
            f"This idempotency key belongs to intent {before.id} ({before.verb} {before.target}); "
            "use a new key for another request."
        )
    return before.id


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
        expected_version=row.expected_version,
        state=State(row.state),
        outcome=row.outcome,
        claimed_by=row.claimed_by,
        ended_at_us=row.ended_at_us,
        on_behalf_of=row.on_behalf_of,
        idempotency_key=row.idempotency_key,
    )
