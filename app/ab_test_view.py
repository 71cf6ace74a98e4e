"""An A/B test as tables: its arms, its goals with effect and interval, its guards, its end.

Reads nothing but what `read` takes in one snapshot of the store. Imported by `app.commands` and
the screens.
"""

from __future__ import annotations

from typing import Final

import msgspec

from app import words
from storage import (
    ab_test_events,
    ab_test_goals,
    ab_test_looks,
    ab_test_units,
    ab_test_waits,
    availability,
    errors,
    services,
)
from storage.ab_test_events import AbTestEvent
from storage.ab_test_evidence import NONE, Evidence
from storage.ab_test_goals import Goal
from storage.ab_test_looks import Kind, Look, Verdict
from storage.ab_tests import OPEN, AbTest, State
from storage.past import ab_tests as past_ab_tests
from storage.service_rows import Service
from storage.store import Session

_NONE: Final = words.UNKNOWN
NOT_COUNTED: Final = "The test was running; what had been counted by then is not recorded."


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """An arm: its weight beside its share of the units."""

    release: int
    role: str
    weight_bp: int
    units: int
    share: float | None
    requests: int


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All that is shown of one A/B test, at one moment."""

    ab_test: AbTest
    arms: tuple[Arm, ...]
    looks: tuple[Look, ...]
    waiting: str
    until_us: int | None
    events: tuple[AbTestEvent, ...]


async def read(s: Session, test: AbTest) -> View:
    """What there is to show of a test now."""
    evidence: Evidence = NONE
    if test.exposed_at_us is not None:
        evidence = await ab_test_units.stored(s, test.id)
    looks = await ab_test_looks.of(s, test.id)
    able = await availability.every(s, [arm.release for arm in test.arms])
    service = await _service(s, test.service)
    return View(
        ab_test=test,
        arms=_arms(test, evidence),
        looks=tuple(looks),
        waiting=ab_test_waits.of(test, service, able, evidence, looks),
        until_us=test.until_us if test.state in OPEN else None,
        events=tuple(await ab_test_events.of(s, test.id)),
    )


async def read_at(s: Session, test: AbTest, at_us: int) -> View:
    """What there was to show of a test at a past moment, `test` as it was then.

    What had been counted by then is known of a test that had ended.
    """
    events = tuple(await past_ab_tests.events_of(s, test.id, at_us))
    if test.state in OPEN:
        return View(
            ab_test=test, arms=_arms(test, NONE), looks=(), waiting=NOT_COUNTED,
            until_us=test.until_us, events=events,
        )  # fmt: skip
    view = await read(s, test)
    return msgspec.structs.replace(view, waiting=test.sentence, until_us=None, events=events)


def _arms(test: AbTest, evidence: Evidence) -> tuple[Arm, ...]:
    counted = {arm.release: arm for arm in evidence.arms}
    total = evidence.units
    shown = []
    for arm in test.arms:
        seen = counted.get(arm.release)
        units = 0 if seen is None else seen.units
        role = "control" if arm.release == test.control else "treatment"
        shown.append(
            Arm(
                release=arm.release,
                role="winner" if arm.release == test.winner else role,
                weight_bp=arm.weight_bp,
                units=units,
                share=units / total if total else None,
                requests=0 if seen is None else seen.requests,
            )
        )
    return tuple(shown)


async def _service(s: Session, name: str) -> Service | None:
    try:
        return await services.find(s, name)
    except errors.NotFound:
        return None


def lines(view: View) -> list[str]:
    """The tables, one below the other."""
    test = view.ab_test
    head = f"{test.service}  A/B test {test.id}  {result(test)}"
    if view.until_us is not None:
        head += f"  until {words.clock(view.until_us)} at most"
    shown = [head, "", *arm_lines(view), "", *goal_lines(view)]
    if guards := guard_lines(view):
        shown += ["", *guards]
    if (ratio := split_look(view)) is not None:
        shown += ["", f"{ratio.sentence}."]
    return [words.safe(line) for line in [*shown, "", view.waiting]]


def arm_lines(view: View) -> list[str]:
    """Its arms: what was set beside what came."""
    rows = [["ARM", "ROLE", "SET", "UNITS", "SHARE", "REQUESTS"]]
    rows += [
        [
            f"r{arm.release}", arm.role, f"{arm.weight_bp / 100:g} %", str(arm.units),
            words.percent(arm.share), str(arm.requests),
        ]
        for arm in view.arms
    ]  # fmt: skip
    return words.table(rows, right=[2, 3, 4, 5])


def goal_lines(view: View) -> list[str]:
    """Its goals, one row for each treatment: n, effect, interval, verdict, what is needed."""
    test = view.ab_test
    looks = {(look.name, look.release): look for look in view.looks if look.kind is Kind.GOAL}
    rows = [["GOAL", "ARM", "N", "EFFECT", "INTERVAL", "VERDICT", "NEEDED"]]
    for goal in test.goals:
        for release in test.treatments:
            look = looks.get((goal.name, release))
            rows.append([goal.name, f"r{release}", *_judged(goal, look)])
    return words.table(rows, right=[2, 6])


def guard_lines(view: View) -> list[str]:
    """Its guards, one row for each treatment."""
    looks = [look for look in view.looks if look.kind is Kind.GUARD]
    if not looks:
        return []
    rows = [["GUARD", "ARM", "N", "RATE", "VERDICT"]]
    rows += [
        [look.name, f"r{look.release}", str(look.n), words.percent(look.effect), look.verdict.value]
        for look in looks
    ]
    return words.table(rows, right=[2, 3])


def split_look(view: View) -> Look | None:
    """The newest check of the units against the weights."""
    return next((look for look in view.looks if look.kind is Kind.SPLIT), None)


def result(test: AbTest) -> str:
    """The state in a word or two, or the result of a test that has ended."""
    if test.state in OPEN:
        return test.state.value
    if test.state is State.PROMOTED:
        return f"promoted r{test.winner}"
    return test.why.value.replace("_", " ") + (f" r{test.winner}" if test.winner else "")


def _judged(goal: Goal, look: Look | None) -> list[str]:
    if look is None:
        return [_NONE, _NONE, _NONE, Verdict.PENDING.value, _NONE]
    return [
        str(look.n),
        effect(goal, look),
        interval(goal, look),
        look.verdict.value,
        _NONE if not look.needed else str(look.needed),
    ]


def effect(goal: Goal, look: Look) -> str:
    """The treatment less the control: +4.1 points."""
    if look.effect is None:
        return _NONE
    return ab_test_goals.size(goal.unit, look.effect, signed=True)


def interval(goal: Goal, look: Look) -> str:
    """Where the effect is: -1.2 to +9.4 points; a dash while it may be anywhere."""
    if look.low is None or look.high is None:
        return _NONE
    low, high = (ab_test_goals.size(goal.unit, x, signed=True) for x in (look.low, look.high))
    return f"{low.partition(' ')[0]} to {high}"
