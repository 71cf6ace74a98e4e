"""The job behind `rollouts plan`: a forecast of a rollout at the service's own traffic.

It reads the store and changes nothing; its result is the plan. It is a separate process because the
probabilities take seconds to compute. Imported by `engine.jobs.kinds`, by name.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from engine.control.rollouts import forecast, planned
from engine.jobs import kinds
from engine.jobs.context import Context
from storage import rollout_plans, rollout_traffic
from storage.rollout_guards import Guard
from storage.rollout_plans import RolloutPlan
from storage.rollout_steps import Step


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """The rollout that is planned; control says which release is stable and what fits."""

    stable: int
    candidate: int
    strategy: str
    steps: tuple[Step, ...]
    guards: tuple[Guard, ...]
    memory: str
    unscored: str = ""


async def compute(context: Context) -> Any:
    """The plan."""
    asked = msgspec.convert(dict(context.job.arguments), Arguments)
    async with context.store.read() as s:
        traffic = await rollout_traffic.read(
            s, context.job.target, asked.stable, asked.guards, context.now_us()
        )
    wanted = planned.Asked(
        service=context.job.target,
        stable=asked.stable,
        candidate=asked.candidate,
        strategy=asked.strategy,
        steps=asked.steps,
        guards=asked.guards,
        memory=asked.memory,
    )
    plan = await asyncio.to_thread(forecast.plan, wanted, traffic, context.now_us())
    return msgspec.to_builtins(msgspec.structs.replace(plan, unscored=asked.unscored))


async def conclude(context: Context) -> str:
    """The plan in one sentence."""
    return msgspec.convert(context.results[rollout_plans.STEP], RolloutPlan).verdict


KIND: Final = kinds.Kind(
    (kinds.Step(rollout_plans.STEP, compute), kinds.Step("conclude", conclude))
)
