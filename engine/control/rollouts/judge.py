"""Verdicts on the guards of a rollout, from the counts of its candidate.

Pure. Harm is looked for at every look, by tests that may be asked any number of times; of the false
aborts that are accepted in a whole rollout, each guard gets an equal part at each weight. Whether
a guard holds needs no such division: a step passes only if all of its guards do. Imported by
`engine.control.rollouts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.judging import errors, exceedance
from storage import rollout_evidence, rollout_steps
from storage.rollout_evidence import Count, Evidence
from storage.rollout_guards import Guard
from storage.rollout_looks import Look, Verdict
from storage.rollout_steps import Mirror, SetWeight, Step
from storage.rollouts import Rollout
from storage.splits import WHOLE_BP

ALPHA: Final = 0.05
"""The share of rollouts with a candidate within its guards that may be aborted for harm."""


def looks(rollout: Rollout, evidence: Evidence, at_us: int) -> tuple[Look, ...]:
    """A look at each guard that counts something now; none while the candidate gets nothing."""
    if rollout.step is None or not rollout.watched:
        return ()
    copies = rollout.mirror is not None
    share = level(rollout.guards, rollout.steps)
    return tuple(
        _look(rollout, guard, count, share, at_us)
        for guard, count in zip(rollout.guards, evidence.counts, strict=True)
        if guard.counts(copies=copies)
    )


def level(guards: Sequence[Guard], steps: Sequence[Step]) -> float:
    """The part of `ALPHA` that each test for harm has.

    They are the guards at each weight; where both arms have traffic, each rate and the latency
    against stable; and where stable has some, its latency against before.
    """
    both = sum(isinstance(step, SetWeight) and 0 < step.weight_bp < WHOLE_BP for step in steps)
    mirrors = sum(isinstance(step, Mirror) for step in steps)
    against = both * (len(of_requests(guards)) + 1) + both + mirrors
    return ALPHA / max(len(guards) * rollout_steps.stages(steps) + against, 1)


def of_requests(guards: Sequence[Guard]) -> list[Guard]:
    """The guards that count requests, which both arms have at any time."""
    return [guard for guard in guards if guard.measure in rollout_evidence.OF_REQUESTS]


def _look(rollout: Rollout, guard: Guard, count: Count, alpha: float, at_us: int) -> Look:
    allowed = guard.allowed_bp / WHOLE_BP
    try:
        harm = exceedance.harm(count.n, count.events, allowed, alpha)
        safety = exceedance.safety(count.n, count.events, allowed, ALPHA)
        needed = exceedance.needed(count.n, count.events, allowed, ALPHA)
    except errors.CannotJudge as error:
        return made(rollout, guard.name, count, at_us, verdict=Verdict.ERROR, sentence=str(error))
    low, high = safety.interval
    verdict = Verdict.RUNNING if count.n else Verdict.PENDING
    if harm.reached:
        verdict = Verdict.HARM
    elif safety.reached:
        verdict = Verdict.HOLDS
    return made(
        rollout, guard.name, count, at_us, verdict=verdict, harm_e=harm.e_value,
        safety_e=safety.e_value, low=low, high=high, needed=needed,
        sentence=f"{guard.name}: {count.events} of {count.n} ({harm.rate:.2%})",
    )  # fmt: skip


def made(
    rollout: Rollout,
    name: str,
    count: Count,
    at_us: int,
    *,
    verdict: Verdict,
    sentence: str,
    harm_e: float = 1.0,
    safety_e: float = 1.0,
    low: float = 0.0,
    high: float = 1.0,
    needed: int | None = None,
) -> Look:
    """A look at the step that is under way."""
    return Look(
        rollout_id=rollout.id,
        attempt=rollout.attempt,
        step=rollout.step or 0,
        at_us=at_us,
        guard=name,
        n=count.n,
        events=count.events,
        harm_e=harm_e,
        safety_e=safety_e,
        low=low,
        high=high,
        needed=needed,
        verdict=verdict,
        sentence=sentence,
    )
