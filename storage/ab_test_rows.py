"""The rows of A/B tests, as records, and how they are found.

Imported by `storage.ab_tests`, which changes them, and through it by every package.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import guided_changes
from storage.ab_test_goals import Goal
from storage.ab_test_states import State, Why
from storage.rollout_guards import Guard
from storage.service_rows import Owner, OwnerKind
from storage.splits import Arm


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


def record(row: AbTestRow) -> AbTest:
    """The test of its row."""
    values = {name: getattr(row, name) for name in AbTest.__struct_fields__}
    values |= {name: msgspec.json.decode(values[name]) for name in ("arms", "goals", "guards")}
    return msgspec.convert(values, AbTest)


KEPT: Final = guided_changes.Kept(AbTestRow, "A/B test", "paddock ab-tests list", record)
find = KEPT.find
latest = KEPT.latest
tail = KEPT.tail


async def under_way(s: AsyncSession) -> list[AbTest]:
    """The tests that have not ended, oldest first."""
    query = select(AbTestRow).where(col(AbTestRow.ended_at_us).is_(None))
    return await KEPT.every(s, query.order_by(col(AbTestRow.id)))
