"""Rollouts: the guarded change of a service from its stable release to a candidate.

Here is how one is added, and every move of it with the event that tells why; its row is in
`rollout_rows`, its states in `rollout_states`, what was counted of the candidate in
`rollout_evidence`, the verdicts in `rollout_looks`. Never decides and never sets a split. Read by
every package, written by `engine.control`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, guided_changes, releases, rollout_events, rollout_steps
from storage.rollout_guards import Guard
from storage.rollout_rows import (
    Impact,
    Rollout,
    RolloutRow,
    find,
    latest,
    mirroring,
    of_revision,
    record,
    secrets,
    tail,
    to_do,
    undoing,
)
from storage.rollout_states import MOVES, OPEN, Phase, State, Why
from storage.rollout_steps import Step, Strategy

__all__ = [
    "MOVES", "OPEN", "Impact", "Phase", "Rollout", "State", "Why", "add", "change",
    "find", "latest", "mirroring", "move", "of_revision", "secrets", "tail", "to_do", "undoing",
]  # fmt: skip


async def add(
    s: AsyncSession,
    *,
    service: str,
    stable: int | None,
    candidate: int,
    strategy: Strategy,
    steps: tuple[Step, ...],
    guards: tuple[Guard, ...],
    load_timeout_s: int,
    rollback_window_s: int,
    state: State,
    why: Why,
    sentence: str,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    undoes: int | None = None,
    webhook_secret: str | None = None,
    notify: tuple[str, ...] = (),
) -> Rollout:
    """A new rollout, the next revision of its service; it has not set a split yet.

    Raises:
        Invalid: a rollout cannot begin so, or its steps or guards are not well formed.
        NotFound: there is no such release.
    """
    if state not in MOVES.begins:
        raise errors.Invalid(f"A rollout does not begin as {state}.")
    if stable == candidate:
        raise errors.Invalid(f"r{candidate} is the stable release of {service} already.")
    rollout_steps.check(steps, guards)
    for number in (candidate, *([] if stable is None else [stable])):
        await releases.get(s, number)
    last = select(func.max(col(RolloutRow.revision))).where(col(RolloutRow.service) == service)
    row = RolloutRow(
        service=service,
        revision=((await s.execute(last)).scalar() or 0) + 1,
        strategy=strategy.value,
        stable=stable,
        candidate=candidate,
        steps=msgspec.json.encode(steps).decode(),
        guards=msgspec.json.encode(guards).decode(),
        load_timeout_s=load_timeout_s,
        rollback_window_s=rollback_window_s,
        undoes=undoes,
        state=state.value,
        why=why.value,
        sentence=sentence,
        version=1,
        attempt=1,
        resumes=None,
        step=None,
        step_began_us=None,
        weight_bp=0 if state in OPEN else 10_000,
        base_split_id=None,
        split_id=None,
        smoke_job_id=None,
        webhook_job_id=None,
        webhook_secret=webhook_secret,
        notify=msgspec.json.encode(notify).decode(),
        exposed_at_us=None if state in OPEN else at_us,
        evidence="{}",
        keep_until_us=None,
        impact=None,
        began_at_us=at_us,
        started_at_us=at_us,
        started_by=actor,
        intent_id=intent_id,
        moved_at_us=at_us,
        ended_at_us=None if state in OPEN else at_us,
    )
    s.add(row)
    await s.flush()
    added = record(row)
    await _tell(s, added, None, actor, intent_id)
    return added


async def move(
    s: AsyncSession,
    rollout: Rollout,
    to: State,
    why: Why,
    sentence: str,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    **changes: Any,
) -> Rollout:
    """Move a rollout, change other columns with it, and record the event.

    Raises:
        Invalid: the move is not legal.
        Moved: the rollout is not as it was seen; exactly one of several callers wins.
    """
    await guided_changes.move(
        s, MOVES, RolloutRow, rollout, to, why, sentence, open=OPEN, named=f"Rollout {rollout.id}",
        actor=actor, at_us=at_us, intent_id=intent_id, changes=changes,
    )  # fmt: skip
    moved = await find(s, rollout.id)
    await _tell(s, moved, rollout.state, actor, intent_id)
    return moved


async def change(s: AsyncSession, id: int, **values: Any) -> None:
    """Set columns other than the state."""
    await guided_changes.change(s, RolloutRow, id, values)


async def _tell(
    s: AsyncSession, moved: Rollout, before: State | None, actor: str, intent_id: int | None
) -> None:
    await rollout_events.add(
        s, rollout_id=moved.id, at_us=moved.moved_at_us, before=before, after=moved.state,
        step=moved.step, weight_bp=moved.weight_bp, why=moved.why, sentence=moved.sentence,
        actor=actor, intent_id=intent_id,
    )  # fmt: skip
