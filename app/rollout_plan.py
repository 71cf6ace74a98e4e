"""A plan of a rollout as lines: each weight, what it finds and misses, and whether it suffices.

Reads the plan that a job computed. Imported by `app.commands`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from app import words
from storage import job_steps, jobs, rollout_plans
from storage.errors import NotFound
from storage.rollout_plans import ComparisonForecast, GuardForecast, RolloutPlan, Stage
from storage.store import Session

_SECOND_US: Final = 1_000_000
_TITLES: Final = ("", "MEASURED", "ALLOWED", "FINDS", "MISSES", "CASES", "NEEDS", "HOLDS AFTER")


async def of_intent(s: Session, intent_id: int) -> RolloutPlan:
    """The plan that an intent asked for.

    Raises:
        NotFound: it is gone.
    """
    job = await jobs.of_intent(s, intent_id)
    for step in [] if job is None else await job_steps.of(s, job.id):
        if step.name == rollout_plans.STEP and step.result is not None:
            return msgspec.convert(step.result, RolloutPlan)
    raise NotFound(f"Intent {intent_id} has no plan any more; ask for it again.")


def lines(plan: RolloutPlan) -> list[str]:
    """The plan for people."""
    head = f"{plan.service}  r{plan.stable} → r{plan.candidate}  "
    head += f"{plan.strategy.replace('_', '-')}  about {_time(plan.lasts_s)} in all"
    drawn = [head, *_traffic(plan), f"memory   {plan.memory}"]
    if plan.unscored:
        drawn.append(f"scoring  {plan.unscored}")
    for stage in plan.stages:
        drawn += ["", *_stage(stage, weakest=stage.step == plan.weakest)]
    return [words.safe(line) for line in [*drawn, "", plan.verdict]]


def _traffic(plan: RolloutPlan) -> list[str]:
    seen = plan.traffic
    window = _time((seen.end_us - seen.begin_us) / _SECOND_US)
    said = f"traffic  {words.counted(seen.requests, 'request')} in {window}"
    said += f", {seen.per_s:.3g}/s on average"
    rates = [rate for rate in seen.by_hour if rate is not None]
    if len(rates) > 1:
        said += f", {min(rates):.3g} to {max(rates):.3g}/s by hour"
    if seen.latency_p95_us is None:
        return [said]
    p50, p95 = words.duration(seen.latency_p50_us), words.duration(seen.latency_p95_us)
    return [said, f"stable   latency p50 {p50}, p95 {p95}"]


def _stage(stage: Stage, *, weakest: bool) -> list[str]:
    number = str(stage.step) if stage.step == stage.last else f"{stage.step}–{stage.last}"
    head = f"step {number}  {stage.words}: about {_time(stage.lasts_s)}"
    if stage.copies:
        head += f", {stage.requests} copies of requests"
    else:
        head += f", {words.counted(stage.requests, 'request')} on the candidate"
    if stage.asks:
        head += ", then a person"
    if stage.passes is False:
        head += ", then it pauses without a result"
    rows = [_TITLES, *[_guard(each) for each in stage.guards]]
    rows += [_comparison(each) for each in stage.comparisons]
    return [f"{head}{'  (weakest)' if weakest else ''}", *[f"  {row}" for row in words.table(rows)]]


def _guard(each: GuardForecast) -> tuple[str, ...]:
    needs = "harm only" if not each.required else "never" if each.needs is None else str(each.needs)
    after = words.UNKNOWN
    if each.required and each.after_s is not None:
        after = _time(each.after_s)
    return (
        each.guard,
        words.percent(each.measured),
        words.percent(each.allowed),
        words.percent(each.found),
        words.percent(each.missed),
        str(each.cases),
        needs,
        after,
    )


def _comparison(each: ComparisonForecast) -> tuple[str, ...]:
    shown = words.percent if each.unit == "rate" else words.duration
    return each.name, shown(each.stable), "", shown(each.found), shown(each.missed), "", "", ""


def _time(seconds: float) -> str:
    return words.brief(seconds * _SECOND_US)
