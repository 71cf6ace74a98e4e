"""What the decision about one A/B test rests on, read from the store. Writes nothing.

Imported by `engine.control.ab_tests`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from engine.control.ab_tests import count, judge
from storage import ab_test_looks, ab_test_units, availability, services
from storage.ab_test_evidence import NONE, Evidence
from storage.ab_test_goals import Unit
from storage.ab_test_looks import Look
from storage.ab_test_units import MOST_UNITS, Exposed
from storage.ab_tests import EXPOSED, AbTest
from storage.availability import Availability
from storage.services import Service
from storage.store import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One test and its surroundings.

    `service` is None if it was removed. `evidence` is what was counted up to now, `units` those
    that are new in it, and `looks` what it means; `ratio` is the check of the split, where it is
    due or the test may end. `recorded` are the counts of the last look, at `looked_us`. `more`:
    there is more to count at once.
    """

    test: AbTest
    service: Service | None
    able: Mapping[int, Availability]
    evidence: Evidence = NONE
    recorded: Evidence = NONE
    units: tuple[Exposed, ...] = ()
    looks: tuple[Look, ...] = ()
    ratio: Look | None = None
    looked_us: int = 0
    more: bool = False

    @property
    def owned(self) -> bool:
        """Whether the split is the test's, as it was set."""
        service, test = self.service, self.test
        return (
            service is not None
            and service.owner == test.owner
            and service.split.id == test.split_id
        )

    @property
    def full(self) -> bool:
        """Whether it has as many units as are kept of one test."""
        return self.evidence.units >= MOST_UNITS

    @property
    def ratio_due(self) -> bool:
        """Whether this look is one of the few that judge the split."""
        return self.evidence.ratio_units != self.recorded.ratio_units


async def read(s: Session, test: AbTest, now_us: int) -> Facts:
    """The facts of a test now."""
    able = await availability.every(s, [arm.release for arm in test.arms])
    service = await services.look_up(s, test.service)
    if test.state not in EXPOSED:
        return Facts(test=test, service=service, able=able)
    recorded = await ab_test_units.stored(s, test.id)
    fresh = await ab_test_units.fresh(s, test.id, recorded)
    fresh = await ab_test_units.with_scores(s, test, recorded, fresh)
    counted = count.fold(test, recorded, fresh)
    kept = await ab_test_looks.of(s, test.id)
    evidence = counted.evidence
    full = evidence.units >= MOST_UNITS
    over = full or (test.until_us is not None and now_us >= test.until_us)
    measured = None
    if over and not fresh.more and test.goal.unit is Unit.MICROSECONDS:
        measured = await _measured(s, test, counted.units, fresh.known)
    looks = judge.looks(test, evidence, now_us, measured)
    ratio = None
    if evidence.units:
        ratio = judge.ratio(test, evidence, now_us)
        if judge.ratio_due(evidence):
            evidence = msgspec.structs.replace(evidence, ratio_units=evidence.units)
    return Facts(
        test=test,
        service=service,
        able=able,
        evidence=evidence,
        recorded=recorded,
        units=counted.units,
        looks=looks,
        ratio=ratio,
        looked_us=max((look.at_us for look in kept), default=0),
        more=fresh.more,
    )


async def _measured(
    s: Session, test: AbTest, changed: Iterable[Exposed], known: Mapping[str, Exposed]
) -> judge.Measured:
    """All measurements of the goal that decides: those kept, and those not kept yet."""
    column = f"{test.goal.name}_us"
    found = await ab_test_units.values(s, test.id, column)
    for unit in changed:
        value, kept = getattr(unit, column), known.get(unit.unit)
        if value is not None and (kept is None or getattr(kept, column) is None):
            found.setdefault(unit.release, []).append(value)
    return found
