"""A/B tests: a sticky split between releases, to learn which one is better.

Here is how one is added, and every move of it with the event that tells why; its row is in
`ab_test_rows`, its states in `ab_test_states`, the units it exposed in `ab_test_units`, its newest
verdicts in `ab_test_looks`. Never decides and never sets a split. Read by every package, written by
`engine.control`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import (
    ab_test_events,
    ab_test_evidence,
    ab_test_goals,
    errors,
    guided_changes,
    releases,
)
from storage.ab_test_goals import Goal
from storage.ab_test_rows import AbTest, AbTestRow, find, latest, record, tail, under_way
from storage.ab_test_states import EXPOSED, MOVES, OPEN, State, Why
from storage.rollout_guards import Guard
from storage.splits import Arm, check_arms

__all__ = [
    "EXPOSED", "MOST_ARMS", "MOVES", "OPEN", "AbTest", "Arm", "Goal", "Guard", "State", "Why",
    "add", "change", "find", "latest", "move", "tail", "under_way",
]  # fmt: skip

MOST_ARMS: Final = 8
DAY_S: Final = 24 * 3600


async def add(
    s: AsyncSession,
    *,
    service: str,
    control: int,
    arms: tuple[Arm, ...],
    goals: tuple[Goal, ...],
    guards: tuple[Guard, ...],
    least_units: int,
    at_most_s: int,
    load_timeout_s: int,
    promotes: bool,
    label: str | None,
    salt: str,
    base_split_id: int,
    sentence: str,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
) -> AbTest:
    """A new test, which loads its arms; it has not taken the split yet.

    Raises:
        Invalid: the arms or the goals are not well formed. NotFound: there is no such release.
    """
    check(control, arms)
    ab_test_goals.check(goals)
    for arm in arms:
        await releases.get(s, arm.release)
    row = AbTestRow(
        service=service,
        control=control,
        arms=msgspec.json.encode(arms).decode(),
        goals=msgspec.json.encode(goals).decode(),
        guards=msgspec.json.encode(guards).decode(),
        least_units=least_units,
        at_most_s=at_most_s,
        load_timeout_s=load_timeout_s,
        promotes=promotes,
        label=label,
        salt=salt,
        state=State.LOADING.value,
        why=Why.STARTED.value,
        sentence=sentence,
        version=1,
        base_split_id=base_split_id,
        split_id=None,
        evidence=ab_test_evidence.encode(ab_test_evidence.NONE),
        winner=None,
        exposed_at_us=None,
        started_at_us=at_us,
        started_by=actor,
        intent_id=intent_id,
        moved_at_us=at_us,
        ended_at_us=None,
    )
    s.add(row)
    await s.flush()
    added = record(row)
    await _tell(s, added, None, actor, intent_id)
    return added


def check(control: int, arms: tuple[Arm, ...]) -> None:
    """Invalid unless the arms are two or more releases with weight, the control among them."""
    check_arms(arms)
    if not 2 <= len(arms) <= MOST_ARMS:  # noqa: PLR2004 a control and a treatment
        raise errors.Invalid(f"An A/B test has 2 to {MOST_ARMS} arms, not {len(arms)}.")
    if any(not arm.weight_bp for arm in arms):
        raise errors.Invalid("Every arm of an A/B test needs a weight above 0.")
    if control not in {arm.release for arm in arms}:
        named = ", ".join(f"r{arm.release}" for arm in arms)
        raise errors.Invalid(
            f"r{control} has the traffic and is the control; give it an arm beside {named}."
        )


async def move(
    s: AsyncSession,
    test: AbTest,
    to: State,
    why: Why,
    sentence: str,
    *,
    actor: str,
    at_us: int,
    intent_id: int | None = None,
    **changes: Any,
) -> AbTest:
    """Move a test, change other columns with it, and record the event.

    Raises:
        Invalid: the move is not legal.
        Moved: the test is not as it was seen; exactly one of several callers wins.
    """
    await guided_changes.move(
        s, MOVES, AbTestRow, test, to, why, sentence, open=OPEN, named=f"A/B test {test.id}",
        actor=actor, at_us=at_us, intent_id=intent_id, changes=changes,
    )  # fmt: skip
    moved = await find(s, test.id)
    await _tell(s, moved, test.state, actor, intent_id)
    return moved


async def change(s: AsyncSession, id: int, **values: Any) -> None:
    """Set columns other than the state."""
    await guided_changes.change(s, AbTestRow, id, values)


async def _tell(
    s: AsyncSession, moved: AbTest, before: State | None, actor: str, intent_id: int | None
) -> None:
    await ab_test_events.add(
        s, ab_test_id=moved.id, at_us=moved.moved_at_us, before=before, after=moved.state,
        why=moved.why, sentence=moved.sentence, actor=actor, intent_id=intent_id,
    )  # fmt: skip
