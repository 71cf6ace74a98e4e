"""Runs of runbooks as they were at a past moment, by the ledger and their timelines.

What a step that had not ended saw since is left out. Imported by `app`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import errors, ledger, run_events, run_steps, runs
from storage.ledger import Entry
from storage.run_events import Event, Kind
from storage.run_steps import Step
from storage.runs import Run, RunRow, State

_CHANGES: Final = 1_000
_EVENTS: Final = 5_000
_STATES: Final = frozenset(state.value for state in State)
_HELD: Final = "taken_by"


async def tail(s: AsyncSession, at_us: int, limit: int = 100) -> list[Run]:
    """The newest runs that had begun, newest first."""
    query = select(col(RunRow.id)).where(col(RunRow.began_at_us) <= at_us)
    ids = await s.scalars(query.order_by(col(RunRow.id).desc()).limit(limit))
    return [await find(s, id, at_us) for id in ids.all() if id is not None]


async def find(s: AsyncSession, id: int, at_us: int) -> Run:
    """One run by its number.

    Raises:
        NotFound: there is no such run, or it had not begun.
    """
    known = await runs.find(s, id)
    if known.began_at_us > at_us:
        raise errors.NotFound(f"Run {id} had not begun then.")
    changes = (await ledger.of(s, "run", str(id), limit=_CHANGES))[::-1]
    later = [each for each in changes if each.at_us > at_us]
    if not later:
        return known
    past = [each for each in changes if each.at_us <= at_us]
    state = next((State(each.after) for each in reversed(past) if _moves(each)), State.RUNNING)
    waits_at = None
    if state is State.WAITING:
        seen = await events_of(s, id, at_us)
        waits_at = next((each.step for each in reversed(seen) if each.kind is Kind.WAITS), None)
    return msgspec.structs.replace(
        known,
        state=state,
        reason=None,
        ended_at_us=None,
        taken_by=_holder(past, later),
        waits_for=None,
        waits_at=waits_at,
    )


async def steps_of(s: AsyncSession, id: int, at_us: int) -> list[Step]:
    """The steps that had begun, in order."""
    return [_step(each, at_us) for each in await run_steps.of(s, id) if each.began_at_us <= at_us]


async def events_of(s: AsyncSession, id: int, at_us: int) -> list[Event]:
    """The timeline up to a moment, oldest first."""
    return [each for each in await run_events.of(s, id, _EVENTS) if each.at_us <= at_us]


def _moves(entry: Entry) -> bool:
    return isinstance(entry.after, str) and entry.verb != _HELD and entry.after in _STATES


def _holder(past: list[Entry], later: list[Entry]) -> str | None:
    """Who decided for it: by the last change of that, else by the first one after."""
    for each in reversed(past):
        if each.verb == _HELD:
            return each.after if isinstance(each.after, str) else None
        if _moves(each) and each.after == State.RUNNING.value:
            return each.actor
    for each in later:
        if each.verb == _HELD:
            return each.before if isinstance(each.before, str) else None
        if _moves(each) and each.after == State.RUNNING.value:
            break
    return None


def _step(known: Step, at_us: int) -> Step:
    if known.ended_at_us is not None and known.ended_at_us <= at_us:
        return known
    unknown: dict[str, Any] = {
        "intent_id": None, "sentence": None, "ended_at_us": None, "after": None, "outcome": None,
        "goto": None, "go_intent_id": None,
    }  # fmt: skip
    return msgspec.structs.replace(known, **unknown)
