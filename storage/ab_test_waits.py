"""What an A/B test waits for, in a sentence.

Pure over records of the store: control decides with it, screens and commands show it, and both say
the same. Imported by every package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storage.ab_test_evidence import Evidence
from storage.ab_test_looks import Kind, Look, Verdict
from storage.ab_tests import OPEN, AbTest, State
from storage.availability import Availability, Can
from storage.services import Service

UNDECIDED = frozenset({Verdict.PENDING, Verdict.RUNNING})


def of(
    test: AbTest,
    service: Service | None,
    able: Mapping[int, Availability],
    evidence: Evidence,
    looks: Sequence[Look],
) -> str:
    """What a test waits for now; `looks` are the newest verdicts. How it ended, if it has."""
    if test.state not in OPEN or test.state is State.UNHEALTHY:
        return test.sentence
    held = frozen(service)
    if test.state is State.LOADING:
        late = [
            f"r{release}: {each.reason or 'it gives no answer'}"
            for release, each in able.items()
            if each.can is not Can.ANSWER
        ]
        return held or f"The arms are being loaded ({'; '.join(late) or 'all of them can answer'})."
    if few := short(test, evidence):
        return f"Waits for {test.least_units} units in each arm: {few}."
    undecided = [look.sentence for look in deciding(test, looks) if look.verdict in UNDECIDED]
    if held is not None and not undecided:
        return f"There is a result, and nothing may change: {held}"
    return f"{'; '.join(undecided)}." if undecided else "Control is about to end it."


def frozen(service: Service | None) -> str | None:
    """Why nothing but the way back is allowed now, as a sentence; None where all is."""
    if service is None or service.frozen is None:
        return None
    return f"{service.name} is {service.frozen.words}."


def short(test: AbTest, evidence: Evidence) -> str:
    """Which arms have too few units, as a clause; empty where none has."""
    few = [arm for arm in evidence.arms if arm.units < test.least_units]
    return ", ".join(f"r{arm.release} has {arm.units}" for arm in few)


def deciding(test: AbTest, looks: Sequence[Look]) -> list[Look]:
    """The looks at the goal that decides, one for each treatment."""
    return [look for look in looks if look.kind is Kind.GOAL and look.name == test.goal.name]
