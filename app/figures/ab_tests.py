"""A/B tests as the place shows them: all that there were, and one of them in full."""

from __future__ import annotations

from app import ab_test_view, snapshot
from storage import ab_tests
from storage.ab_tests import OPEN, AbTest, State, Why
from storage.past import ab_tests as past_ab_tests
from storage.store import Session


async def read(s: Session, id: int, *, limit: int, at_us: int | None = None) -> snapshot.AbTests:
    """The newest tests, and the one with this number in full; 0 is the newest."""
    found = await (
        ab_tests.tail(s, limit) if at_us is None else past_ab_tests.tail(s, at_us, limit)
    )
    rows = tuple(_row(test) for test in found)
    chosen = next((test for test in found if test.id == id), found[0] if found else None)
    if chosen is None:
        return snapshot.AbTests(rows=rows)
    view = await (
        ab_test_view.read(s, chosen) if at_us is None
        else ab_test_view.read_at(s, chosen, at_us)
    )  # fmt: skip
    ratio = ab_test_view.split_look(view)
    return snapshot.AbTests(
        rows=rows,
        shown=chosen.id,
        until_us=view.until_us,
        arms=tuple(ab_test_view.arm_lines(view)),
        goals=tuple(ab_test_view.goal_lines(view)),
        guards=tuple(ab_test_view.guard_lines(view)),
        split="" if ratio is None else ratio.sentence,
        waiting=view.waiting,
    )


def _row(test: AbTest) -> snapshot.AbTestRow:
    return snapshot.AbTestRow(
        id=test.id,
        service=test.service,
        arms=(test.control, *test.treatments),
        goal=test.goal.name,
        result=ab_test_view.result(test),
        version=test.version,
        winner=test.winner,
        promotable=test.state is State.ENDED and test.winner not in {None, test.control},
        under_way=test.state in OPEN,
        well=test.state is not State.UNHEALTHY and test.why is not Why.HARM,
        started_at_us=test.started_at_us,
        actor=test.started_by,
    )
