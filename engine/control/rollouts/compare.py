"""The candidate against the stable release: rates, latency, and whether the split is as it was set.

Pure. Rates are compared by blocks of the same minutes and may be looked at any number of times;
latency once, at the end of a weight, between prompts of like length. Harm is the candidate's when
it is worse than stable at the same time: what disturbs both arms alike is no evidence here, see
`engine.control.rollouts.before`. Imported by `engine.control.rollouts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.control.rollouts import judge, lengths
from engine.judging import errors, sample_ratio, shift, two_rates, verdict
from storage.rollout_contrasts import Durations
from storage.rollout_evidence import Count, Evidence
from storage.rollout_guards import Guard
from storage.rollout_looks import Look, Verdict
from storage.rollouts import Rollout
from storage.splits import WHOLE_BP

LEAST_SHIFT: Final = 0.25
"""The smallest slowdown that is harm, as a part of stable's median, as Kayenta has it."""
RATIO: Final = "sample ratio"
LATENCY: Final = "latency against stable"


def compared(rollout: Rollout) -> bool:
    """Whether both arms have traffic."""
    return rollout.step is not None and 0 < rollout.weight_bp < WHOLE_BP


def rates(rollout: Rollout, evidence: Evidence, at_us: int) -> tuple[Look, ...]:
    """A look at each rate that the guards count, beside stable's; none without both arms."""
    if not compared(rollout) or not evidence.blocks:
        return ()
    level = judge.level(rollout.guards, rollout.steps)
    looks = []
    for at, guard in enumerate(judge.of_requests(rollout.guards)):
        name = of_rate(guard)
        blocks = [
            two_rates.Block(each.candidate_n, each.candidate[at], each.stable_n, each.stable[at])
            for each in evidence.blocks
        ]
        count = Count(
            sum(each.candidate_n for each in blocks), sum(each.candidate_events for each in blocks)
        )
        try:
            seen = two_rates.compare(blocks, expected=guard.allowed_bp / WHOLE_BP / 2, alpha=level)
        except errors.CannotJudge as error:
            looks.append(_failed(rollout, name, count, at_us, error))
            continue
        state = Verdict.RUNNING if seen.candidate_n and seen.stable_n else Verdict.PENDING
        low, high = seen.difference_interval
        looks.append(
            judge.made(
                rollout,
                name,
                count,
                at_us,
                verdict=Verdict.HARM if seen.reached else state,
                sentence=verdict.against_stable(name, seen).sentence,
                harm_e=seen.e_value,
                low=low,
                high=high,
                needed=seen.needed,
            )
        )
    return tuple(looks)


def of_rate(guard: Guard) -> str:
    """The name of the look that compares the rate which a guard is about."""
    what = guard.name if guard.limit_us is not None else guard.name.partition("<=")[0]
    return f"{what} against stable"


def latency(rollout: Rollout, seen: Durations, at_us: int) -> tuple[Look, ...]:
    """A look at each class of prompts of like length with enough requests on both arms."""
    classes = [
        (length, candidate, stable)
        for length in lengths.CLASSES
        if len(candidate := lengths.durations_ms(seen.candidate, length)) >= shift.LEAST
        and len(stable := lengths.durations_ms(seen.stable, length)) >= shift.LEAST
    ]
    level = judge.level(rollout.guards, rollout.steps) / max(len(classes), 1)
    looks = []
    for length, candidate, stable in classes:
        name = f"{LATENCY}, prompts {lengths.words(length)}"
        count = Count(len(candidate), 0)
        least = LEAST_SHIFT * sorted(stable)[len(stable) // 2]
        try:
            found = shift.compare(candidate, stable, least=least, alpha=level)
        except errors.CannotJudge as error:
            looks.append(_failed(rollout, name, count, at_us, error))
            continue
        said = verdict.shifted(name, found, "ms")
        low, high = found.interval
        harm = said.outcome is verdict.Outcome.FAIL
        safe = said.outcome is verdict.Outcome.PASS
        looks.append(
            judge.made(
                rollout,
                name,
                count,
                at_us,
                sentence=said.sentence,
                low=low,
                high=high,
                verdict=Verdict.HARM if harm else Verdict.HOLDS if safe else Verdict.RUNNING,
                needed=found.needed,
            )
        )
    return tuple(looks)


def ratio(rollout: Rollout, units: Mapping[int, int], at_us: int) -> Look:
    """Whether the arms got the units that their weights promise; if not, nothing is judged."""
    weights = {
        f"r{rollout.stable}": WHOLE_BP - rollout.weight_bp,
        f"r{rollout.candidate}": rollout.weight_bp,
    }
    named = {f"r{release}": count for release, count in units.items()}
    count = Count(named.get(f"r{rollout.candidate}", 0), 0)
    try:
        seen = sample_ratio.check(named, weights)
    except errors.CannotJudge as error:
        return _failed(rollout, RATIO, count, at_us, error)
    state = Verdict.HOLDS if seen.p_value is not None else Verdict.RUNNING
    return judge.made(
        rollout, RATIO, count, at_us, verdict=state if seen.healthy else Verdict.ERROR,
        sentence=verdict.split(RATIO, seen).sentence, needed=seen.needed,
    )  # fmt: skip


def _failed(
    rollout: Rollout, name: str, count: Count, at_us: int, error: errors.CannotJudge
) -> Look:
    return judge.made(
        rollout, name, count, at_us, verdict=Verdict.ERROR, sentence=f"{name}: {error}"
    )
