"""What to do with an A/B test now, and why. Pure: facts and the time in, a decision out.

Questions are asked in order of urgency: whether the split is still the test's, whether a treatment
does harm, whether the arms can answer, whether the units follow the weights, and only then whether
there is a result. A test with an unhealthy split never names a winner, nor does one without
traffic. Imported by `engine.control.ab_tests`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from engine.control.ab_tests.facts import Facts
from engine.control.decisions import Decision, Reason
from storage import ab_test_goals, ab_test_waits
from storage.ab_test_evidence import NONE, Evidence
from storage.ab_test_looks import Look, Verdict
from storage.ab_test_units import MOST_UNITS, Exposed
from storage.ab_tests import OPEN, AbTest, State, Why
from storage.availability import Can

SECOND_US: Final = 1_000_000
LOOK_US: Final = SECOND_US
"""How often a test with traffic is looked at."""
KEEP_US: Final = 5 * SECOND_US
"""How often a look that changed nothing is kept, at most."""


class Do(Enum):
    """What `act` does."""

    EXPOSE = auto()  # the split of the test, under its salt
    MARK = auto()  # the split is unhealthy
    RECORD = auto()  # keep what was counted
    RETURN = auto()  # end, with the split before the test
    CROWN = auto()  # end, with the traffic on the control and the winner kept loaded
    PROMOTE = auto()  # end, with the traffic on the winner
    LEAVE = auto()  # end and leave the split: it no longer belongs to the test


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One thing to do with one test, as it was seen, with what was counted on the way."""

    do: Do
    test: AbTest
    why: Why
    sentence: str
    winner: int | None = None
    evidence: Evidence = NONE
    units: tuple[Exposed, ...] = ()
    looks: tuple[Look, ...] = ()


def decide(facts: Facts, now_us: int) -> Decision:
    """What to do with one test; if nothing, what it waits for and when to look again."""
    plan = _plan(facts, now_us) if facts.test.state in OPEN else None
    if plan is not None:
        return Decision(Reason.WAITING, plan.sentence, plan)
    test = facts.test
    due = test.load_deadline_us if test.state is State.LOADING else now_us + LOOK_US
    said = ab_test_waits.of(test, facts.service, facts.able, facts.evidence, facts.looks)
    return Decision(Reason.WAITING, said, due_us=due if test.state in OPEN else None)


def made(do: Do, facts: Facts, why: Why, sentence: str, *, winner: int | None = None) -> Plan:
    """A plan with what was counted up to it."""
    looks = facts.looks if facts.ratio is None else (*facts.looks, facts.ratio)
    return Plan(
        do=do, test=facts.test, why=why, sentence=sentence, winner=winner,
        evidence=facts.evidence, units=facts.units, looks=looks,
    )  # fmt: skip


def _plan(facts: Facts, now_us: int) -> Plan | None:
    test = facts.test
    if (plan := _cut_short(facts)) is not None:
        return plan
    if test.state is State.LOADING:
        return _load(facts, now_us)
    if test.state is State.RUNNING and facts.ratio_due and _mismatch(facts):
        return _mark(facts)
    if facts.more:
        return made(Do.RECORD, facts, test.why, "There is more to count.")
    plan = None if ab_test_waits.frozen(facts.service) else _conclusion(facts, now_us)
    return plan or _record(facts, now_us)


def _cut_short(facts: Facts) -> Plan | None:
    """The end of a test that cannot continue, or must not; None while it may."""
    test = facts.test
    if not facts.owned:
        said = f"The split of {test.service} was taken from the test, which has ended."
        return made(Do.LEAVE, facts, Why.TAKEN, said)
    if (broken := harm(facts.looks)) is not None:
        said = f"{broken.sentence}: more than is allowed. {_back(test)}"
        return made(Do.RETURN, facts, Why.HARM, said)
    for release, each in facts.able.items():
        if each.can is Can.NOT:
            said = f"r{release} cannot answer: {each.reason}. {_back(test)}"
            return made(Do.RETURN, facts, Why.UNLOADABLE, said)
    return None


def harm(looks: Sequence[Look]) -> Look | None:
    """The guard that is broken, the first if there are several."""
    return next((look for look in looks if look.verdict is Verdict.HARM), None)


def _load(facts: Facts, now_us: int) -> Plan | None:
    test = facts.test
    if ab_test_waits.frozen(facts.service) is None and all(
        each.can is Can.ANSWER for each in facts.able.values()
    ):
        arms = ", ".join(f"r{arm.release} {arm.weight_bp / 100:g} %" for arm in test.arms)
        said = f"Every arm can answer; units are assigned anew: {arms}."
        return made(Do.EXPOSE, facts, Why.LOADED, said)
    if now_us >= test.load_deadline_us:
        late = [f"r{each}" for each, able in facts.able.items() if able.can is not Can.ANSWER]
        said = f"{', '.join(late) or 'The test'} could not begin within {test.load_timeout_s} s"
        reasons = "; ".join(able.reason for able in facts.able.values() if able.reason)
        said += (
            f": {reasons or ab_test_waits.frozen(facts.service) or 'no reason is known'}".rstrip(
                "."
            )
        )
        return made(Do.RETURN, facts, Why.LATE, f"{said}. {_back(test)}")
    return None


def _mismatch(facts: Facts) -> bool:
    return facts.ratio is not None and facts.ratio.verdict is Verdict.MISMATCH


def _mark(facts: Facts) -> Plan:
    test = facts.test
    said = f"{facts.ratio.sentence}. " if facts.ratio is not None else ""
    said += (
        f"The arms are not comparable, and no winner is named: find the cause, then "
        f"`paddock ab-tests stop {test.service}` and start anew."
    )
    return made(Do.MARK, facts, Why.MISMATCH, said)


def _conclusion(facts: Facts, now_us: int) -> Plan | None:
    """The end of a test, if its looks decide it or its time is over; None while it continues."""
    test = facts.test
    healthy = test.state is State.RUNNING
    over = facts.full or (test.until_us is not None and now_us >= test.until_us)
    looks = ab_test_waits.deciding(test, facts.looks)
    better = [look for look in looks if look.verdict is Verdict.BETTER]
    decided = all(look.verdict in {Verdict.WORSE, Verdict.SAME} for look in looks)
    if healthy and not ab_test_waits.short(test, facts.evidence) and (better or decided):
        if _mismatch(facts):
            return _mark(facts)
        return _winner(facts, better) if better else _none_better(facts, looks)
    return _inconclusive(facts, looks) if over else None


def _winner(facts: Facts, better: Sequence[Look]) -> Plan:
    test = facts.test
    best = max(better, key=lambda look: abs(look.effect or 0.0))
    name = f"r{best.release}"
    if test.promotes:
        said = f"{best.sentence}. {name} has all of the traffic of {test.service}"
        said += f", and {test.label} is asked for at its prompt." if test.label else "."
        return made(Do.PROMOTE, facts, Why.WINNER, said, winner=best.release)
    said = (
        f"{best.sentence}. {_back(test)} {name} stays loaded: `paddock ab-tests promote "
        f"{test.service}` gives it all of the traffic, `paddock rollouts start {test.service} "
        f"--to {name}` does so by steps."
    )
    return made(Do.CROWN, facts, Why.WINNER, said, winner=best.release)


def _none_better(facts: Facts, looks: Sequence[Look]) -> Plan:
    test = facts.test
    found = "; ".join(look.sentence for look in looks)
    if any(look.verdict is Verdict.WORSE for look in looks):
        said = f"{found}. No treatment is better than r{test.control}. {_back(test)}"
        return made(Do.RETURN, facts, Why.CONTROL, said, winner=test.control)
    least = ab_test_goals.size(test.goal.unit, test.goal.least_effect)
    said = f"{found}. Choose by other reasons than {test.goal.name}: no difference reaches {least}."
    return made(Do.RETURN, facts, Why.NO_DIFFERENCE, f"{said} {_back(test)}")


def _inconclusive(facts: Facts, looks: Sequence[Look]) -> Plan:
    test = facts.test
    ran = f"{MOST_UNITS} units" if facts.full else f"{test.at_most_s / 86_400:.3g} days"
    found = "; ".join(look.sentence for look in looks)
    said = f"No result after {ran}: {found}."
    if test.state is State.UNHEALTHY:
        said = f"No result after {ran}: the units did not follow the weights."
    elif short := ab_test_waits.short(test, facts.evidence):
        said = f"No result after {ran}: {short}, and {test.least_units} are wanted. {found}."
    return made(Do.RETURN, facts, Why.INCONCLUSIVE, f"{said} {_back(test)}")


def _record(facts: Facts, now_us: int) -> Plan | None:
    """Keep a look that saw something new, not more often than is of use."""
    before, now = facts.recorded, facts.evidence
    same = (now.arms, now.ratio_units, now.scored) == (
        before.arms, before.ratio_units, before.scored,
    )  # fmt: skip
    if same or (now_us < facts.looked_us + KEEP_US and not facts.ratio_due):
        return None
    return made(Do.RECORD, facts, facts.test.why, "A look is recorded.")


def _back(test: AbTest) -> str:
    return f"The traffic of {test.service} is back on r{test.control}."
