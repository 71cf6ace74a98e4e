"""A/B tests: a sticky split between releases, to learn which one is better.

Here is the row of a test, and every move of it with the event that tells why; its states are in
`ab_test_states`, the units it exposed in `ab_test_units`, its newest verdicts in `ab_test_looks`.
Never decides and never sets a split. Read by every package, written by `engine.control`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import ab_test_events, ab_test_evidence, ab_test_goals, errors, moves, releases
from storage.ab_test_goals import Goal
from storage.ab_test_states import EXPOSED, MOVES, OPEN, State, Why
from storage.rollout_steps import Guard
from storage.service_rows import Owner, OwnerKind
from storage.splits import Arm, check_arms

__all__ = [
    "EXPOSED", "MOST_ARMS", "MOVES", "OPEN", "AbTest", "Arm", "Goal", "Guard", "State", "Why",
    "add", "change", "find", "latest", "move", "tail", "under_way",
]  # fmt: skip

MOST_ARMS: Final = 8
DAY_S: Final = 24 * 3600


class AbTestRow(SQLModel, table=True):
    """A test as it is stored; arms, goals, guards and evidence are JSON."""

    __tablename__: ClassVar[str] = "ab_tests"

    id: int | None = Field(default=None, primary_key=True)
    service: str
    control: int
    arms: str
    goals: str
    guards: str
    least_units: int
    at_most_s: int
    load_timeout_s: int
    promotes: bool
    label: str | None
    salt: str
    state: str
    why: str
    sentence: str
    version: int
    base_split_id: int | None
    split_id: int | None
    evidence: str
    winner: int | None
    exposed_at_us: int | None
    started_at_us: int
    started_by: str
    intent_id: int | None
    moved_at_us: int
    ended_at_us: int | None


class AbTest(msgspec.Struct, frozen=True, kw_only=True):
    """One A/B test. `arms` are the releases that it compares with the weights of its split.

    The first goal decides, the others are measured beside it. No conclusion is drawn before every
    arm has `least_units`, and the test ends at most `at_most_s` after `exposed_at_us`, when its
    arms first got traffic. `promotes` gives a winner all of the traffic, and then points `label`
    of its prompt at its version. `salt` assigns its units; `base_split_id` is the split before the
    test, `split_id` the one that it set last. `version` grows with each move.
    """

    id: int
    service: str
    control: int
    arms: tuple[Arm, ...]
    goals: tuple[Goal, ...]
    guards: tuple[Guard, ...]
    least_units: int
    at_most_s: int
    load_timeout_s: int
    promotes: bool = False
    label: str | None = None
    salt: str
    state: State
    why: Why
    sentence: str
    version: int
    base_split_id: int | None = None
    split_id: int | None = None
    winner: int | None = None
    exposed_at_us: int | None = None
    started_at_us: int
    started_by: str
    intent_id: int | None
    moved_at_us: int
    ended_at_us: int | None = None

    @property
    def owner(self) -> Owner:
        """As the service names it."""
        return Owner(OwnerKind.AB_TEST, str(self.id))

    @property
    def goal(self) -> Goal:
        """The goal that decides."""
        return self.goals[0]

    @property
    def treatments(self) -> tuple[int, ...]:
        """The releases that are held against the control."""
        return tuple(arm.release for arm in self.arms if arm.release != self.control)

    @property
    def load_deadline_us(self) -> int:
        """When every arm has to be able to answer."""
        return self.started_at_us + self.load_timeout_s * 1_000_000

    @property
    def until_us(self) -> int | None:
        """When it ends at the latest; None while its arms have had no traffic."""
        if self.exposed_at_us is None:
            return None
        return self.exposed_at_us + self.at_most_s * 1_000_000


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
    added = _test(row)
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
    row = await s.get_one(AbTestRow, test.id, populate_existing=True)
    if row.version != test.version:
        raise errors.Moved(f"A/B test {test.id} changed since you looked: {row.sentence}")
    changes |= {
        "why": why.value,
        "sentence": sentence,
        "version": test.version + 1,
        "moved_at_us": at_us,
        "ended_at_us": None if to in OPEN else test.ended_at_us or at_us,
    }
    await moves.move(
        s, MOVES, AbTestRow, test.id, test.state, to, actor=actor, at_us=at_us,
        verb=f"ab_tests.{why.value}", intent_id=intent_id, changes=changes,
    )  # fmt: skip
    moved = await find(s, test.id)
    await _tell(s, moved, test.state, actor, intent_id)
    return moved


async def change(s: AsyncSession, id: int, **values: Any) -> None:
    """Set columns other than the state."""
    await s.execute(
        update(AbTestRow)
        .where(col(AbTestRow.id) == id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


async def find(s: AsyncSession, id: int) -> AbTest:
    """By its number.

    Raises:
        NotFound: there is no such test.
    """
    row = await s.get(AbTestRow, id, populate_existing=True)
    if row is None:
        raise errors.NotFound(f"There is no A/B test {id}; see `paddock ab-tests list`.")
    return _test(row)


async def latest(s: AsyncSession, service: str) -> AbTest | None:
    """The newest test of a service, if it has had one."""
    found = await tail(s, 1, service=service)
    return found[0] if found else None


async def tail(s: AsyncSession, limit: int = 100, *, service: str | None = None) -> list[AbTest]:
    """The newest tests, newest first, of all services or one."""
    query = select(AbTestRow).order_by(col(AbTestRow.id).desc()).limit(limit)
    if service is not None:
        query = query.where(col(AbTestRow.service) == service)
    return await _every(s, query)


async def under_way(s: AsyncSession) -> list[AbTest]:
    """The tests that have not ended, oldest first."""
    query = select(AbTestRow).where(col(AbTestRow.ended_at_us).is_(None))
    return await _every(s, query.order_by(col(AbTestRow.id)))


async def _tell(
    s: AsyncSession, moved: AbTest, before: State | None, actor: str, intent_id: int | None
) -> None:
    await ab_test_events.add(
        s, ab_test_id=moved.id, at_us=moved.moved_at_us, before=before, after=moved.state,
        why=moved.why, sentence=moved.sentence, actor=actor, intent_id=intent_id,
    )  # fmt: skip


async def _every(s: AsyncSession, query: Any) -> list[AbTest]:
    rows = await s.scalars(query.execution_options(populate_existing=True))
    return [_test(row) for row in rows]


def _test(row: AbTestRow) -> AbTest:
    values = {name: getattr(row, name) for name in AbTest.__struct_fields__}
    values |= {name: msgspec.json.decode(values[name]) for name in ("arms", "goals", "guards")}
    return msgspec.convert(values, AbTest)
