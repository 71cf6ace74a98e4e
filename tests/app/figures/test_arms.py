"""What is measured of arms, beside what is set."""

from __future__ import annotations

import pytest

from app import snapshot
from app.figures import arms, places
from storage.services import Arm, Service, Split
from tests.app import populated_homes, store_facts

SERVICE = Service(
    name="support", record_text=True, version=3, created_at_us=0, created_by="sara",
    split=Split(
        id=1, service="support", salt="s", set_at_us=0, set_by="sara", intent_id=None,
        arms=(Arm(release=1, weight_bp=9_000), Arm(release=2, weight_bp=1_000)),
    ),
)  # fmt: skip


def measured(**arms_: dict[int, object]) -> tuple[snapshot.Arm, ...]:
    """The arms of the service, as these seconds make them."""
    rows = {f"support/{name}": seconds for name, seconds in arms_.items()}
    facts = store_facts.facts(arms=rows, records={"services": [SERVICE]})
    return arms.shown(facts)[0].arms


def test_actual_is_the_share_of_what_was_measured() -> None:
    """Set says nine to one; what was measured is beside it."""
    at = populated_homes.NOW - 1
    one, two = measured(
        r1={at: store_facts.second(populated_homes.arm(0, ms=10))},
        r2={at: store_facts.second(populated_homes.arm(0, ms=10, failed=1))},
    )
    assert (one.actual, two.actual) == (0.5, 0.5)
    assert (one.weight_bp, two.weight_bp) == (9_000, 1_000)
    assert two.errors == pytest.approx(1 / 3)
    assert one.per_s == pytest.approx(3 / store_facts.WINDOW_S)


def test_an_arm_that_has_left_still_counts_among_all() -> None:
    """It stays with its figures and no weight while its requests are in the window."""
    at = populated_homes.NOW - 1
    one, two, gone = measured(
        r1={at: store_facts.second(populated_homes.arm(0, ms=10))},
        r9={at: store_facts.second(populated_homes.arm(0, ms=10, failed=1))},
    )
    assert (one.actual, one.departed, two.departed) == (0.5, False, False)
    assert (gone.release, gone.weight_bp, gone.departed, gone.actual) == (9, 0, True, 0.5)
    assert gone.failed == 1
    old = populated_homes.NOW - store_facts.WINDOW_S - 1
    rows: dict[int, object] = {old: store_facts.second(populated_homes.arm(0, ms=10))}
    assert [arm.release for arm in measured(r9=rows)] == [1, 2]


def test_an_arm_without_requests_has_no_figures() -> None:
    """What was not measured is not a zero."""
    one, two = measured(
        r1={populated_homes.NOW - 1: store_facts.second(populated_homes.arm(0, ms=10))}
    )
    assert (two.per_s, two.p95_us, two.errors, two.liked) == (None, None, None, None)
    assert one.p95_us is not None


def test_what_is_older_than_the_window_does_not_count() -> None:
    """TrafficWindow is five minutes, and the second after them is not."""
    old = populated_homes.NOW - store_facts.WINDOW_S
    one, _ = measured(r1={old: store_facts.second(populated_homes.arm(0, ms=10))})
    assert one.requests == 0
    one, _ = measured(r1={old + 1: store_facts.second(populated_homes.arm(0, ms=10))})
    assert one.requests == 3


def test_a_node_that_just_started_is_measured_since_then() -> None:
    """A rate does not count minutes in which the node was down."""
    rows = {
        "support/r1": {populated_homes.NOW - 1: store_facts.second(populated_homes.arm(0, ms=10))}
    }
    facts = store_facts.facts(up_s=9, arms=rows, records={"services": [SERVICE]})
    assert arms.shown(facts)[0].arms[0].per_s == pytest.approx(0.3)
    assert places.traffic(facts).window.until_us is None


def test_a_dead_node_shows_its_last_five_minutes() -> None:
    """They end with its last measurement, and the window says so."""
    last = populated_homes.NOW - 600
    rows = {"support/r1": {last: store_facts.second(populated_homes.arm(0, ms=10))}}
    facts = store_facts.facts(store_facts.DOWN, arms=rows, records={"services": [SERVICE]})
    seen = places.traffic(facts)
    assert seen.services[0].arms[0].requests == 3
    assert seen.window.until_us == (last + 1) * populated_homes.SECOND_US
