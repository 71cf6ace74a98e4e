"""Rollouts as far as they were at a past moment, by their events. Imported by `app`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, rollout_events, rollouts
from storage.rollout_events import RolloutEvent
from storage.rollout_rows import Rollout, RolloutRow
from storage.rollout_states import OPEN, Why


async def tail(
    s: AsyncSession, at_us: int, limit: int = 100, *, service: str | None = None
) -> list[Rollout]:
    """The newest rollouts up to a moment, newest first."""
    query = select(col(RolloutRow.id)).where(col(RolloutRow.started_at_us) <= at_us)
    if service is not None:
        query = query.where(col(RolloutRow.service) == service)
    ids = await s.scalars(query.order_by(col(RolloutRow.id).desc()).limit(limit))
    return [await find(s, id, at_us) for id in ids.all() if id is not None]


async def latest(s: AsyncSession, service: str, at_us: int) -> Rollout | None:
    """The newest rollout of a service, if it had had one."""
    found = await tail(s, at_us, 1, service=service)
    return found[0] if found else None


async def find(s: AsyncSession, id: int, at_us: int) -> Rollout:
    """One rollout by its number.

    Raises:
        NotFound: it had not been started.
    """
    known = await rollouts.find(s, id)
    events = await events_of(s, id, at_us)
    if not events:
        raise errors.NotFound(f"Rollout {id} had not been started then.")
    return _then(known, events)


async def events_of(s: AsyncSession, id: int, at_us: int) -> list[RolloutEvent]:
    """The moves of a rollout up to a moment, oldest first."""
    return [each for each in await rollout_events.of(s, id) if each.at_us <= at_us]


def _then(known: Rollout, events: Sequence[RolloutEvent]) -> Rollout:
    last = events[-1]
    starts = [each for each in events if each.before is None or each.why is Why.RETRIED]
    at_step = [each for each in events if each.step == last.step and each.id >= starts[-1].id]
    weighted = [each for each in events if each.weight_bp]
    over = last.after not in OPEN
    ends = [each.at_us for each in events if each.after not in OPEN]
    return msgspec.structs.replace(
        known,
        state=last.after,
        why=last.why,
        sentence=last.sentence,
        version=len(events),
        attempt=len(starts),
        resumes=None,
        step=last.step,
        step_began_us=None if last.step is None else at_step[0].at_us,
        weight_bp=last.weight_bp,
        split_id=None,
        smoke_job_id=known.smoke_job_id if len(starts) == known.attempt else None,
        webhook_job_id=None,
        exposed_at_us=weighted[0].at_us if weighted else None,
        keep_until_us=None,
        impact=known.impact if over and known.ended_at_us == ends[0] else None,
        began_at_us=starts[-1].at_us,
        moved_at_us=last.at_us,
        ended_at_us=ends[0] if over else None,
    )
