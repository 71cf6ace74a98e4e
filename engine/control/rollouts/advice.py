"""Whether the traffic leads a planned rollout to its end, where it is weakest, and what would do.

Pure. Imported by `engine.control.rollouts.forecast`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from engine.control.rollouts import planned
from engine.control.rollouts.planned import Asked, Case
from engine.control.rollouts.rhythm import Rhythm
from storage import splits
from storage.rollout_plans import Stage
from storage.rollout_steps import Analysis, Mirror, Pause, Step
from storage.splits import WHOLE_BP

_SECOND_US: Final = 1_000_000
_HOUR_S: Final = 3600


def weakest(stages: Sequence[Stage]) -> Stage:
    """The stage that pauses without a result, else the one whose guards find least."""

    def weakness(stage: Stage) -> tuple[bool, float]:
        finds = [each.found or math.inf for each in stage.guards if each.required]
        shares = [each.allowed for each in stage.guards if each.required]
        worst = [found / share for found, share in zip(finds, shares, strict=True)]
        return stage.passes is False, max(worst, default=math.inf)

    return max(stages, key=weakness)


def verdict(
    asked: Asked,
    guards: Sequence[Case],
    weakest: Stage | None,
    beat: Rhythm,
    now_us: int,
) -> tuple[bool, str]:
    """Whether the traffic leads the rollout to its end, and what to do if not."""
    if weakest is None:
        said = f"{asked.service} had no request within a week: nothing can be found or shown."
        return False, f"{said} Let it have traffic first, or judge r{asked.candidate} by replay."
    judged = [] if weakest.passes is None else planned.required(guards)
    never = [case for case in judged if case.needs is None]
    if never:
        case = never[0]
        said = f"r{asked.stable} itself does not keep to {case.guard.name}"
        said += f" ({case.rate or 0:.2%} measured): no analysis passes. Loosen the guard"
        return False, f"{said}, or fix r{asked.stable} first."
    if weakest.passes is False:
        said = f"The traffic is too low for step {weakest.step}: {weakest.words} is expected to"
        said += f" see {weakest.requests} requests and pause without a result."
        return False, f"{said} {_advice(asked.steps, weakest, guards, beat, now_us)}"
    named = [each for each in weakest.guards if each.required]
    finds = [f"{each.guard} from {each.found:.2%}" for each in named if each.found is not None]
    said = f"The traffic suffices. Weakest is step {weakest.step}, {weakest.words}"
    return True, f"{said}: it finds {' and '.join(finds) or 'no harm before it passes'}."


def _advice(
    steps: Sequence[Step], stage: Stage, guards: Sequence[Case], beat: Rhythm, now_us: int
) -> str:
    """Which weight or length of the analysis would do."""
    begin_s = now_us / _SECOND_US
    own = steps[stage.step - 1 : stage.last]
    limit = sum(
        (step.duration_s or 0) if isinstance(step, Pause) else step.at_most_s
        for step in own
        if isinstance(step, Analysis | Mirror | Pause)
    )
    needs = max(
        (case.needs or 0) / case.per_request if case.per_request else math.inf
        for case in planned.required(guards)
    )
    needs = max(needs, *(step.at_least for step in own if isinstance(step, Mirror)), 0)
    ways = []
    weight = needs / (beat.arrivals(begin_s, limit) or 1e-9)
    if weight <= 1:
        part = "share" if stage.copies else "weight"
        ways.append(f"a {part} of {splits.percent(math.ceil(weight * 100) * 100)}")
    longer = beat.time_for(needs / (max(map(planned.share_bp, own)) / WHOLE_BP), begin_s)
    if longer is not None:
        step = "a mirror" if stage.copies else "an analysis"
        ways.append(f"{step} of {math.ceil(longer / _HOUR_S)} h")
    ways.append("a replay" if stage.copies else "a replay or a shadow, which need no user")
    return f"Better: {', or '.join(ways)}."
