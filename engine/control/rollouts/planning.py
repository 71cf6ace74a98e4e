"""The verb that plans a rollout: queues the job that says what it would do; changes nothing.

Imported by `engine.control.handlers`, through the package.
"""

from __future__ import annotations

import msgspec

from engine.control import memory
from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.control.rollouts import starts
from storage import jobs, releases, rollout_guards, rollout_plans, rollout_steps, services
from storage.control_socket import verbs
from storage.intents import Intent
from storage.releases import Backend, Release
from storage.store import Session


@handles("rollouts.plan")
async def plan(s: Session, intent: Intent, arguments: verbs.rollouts.Start, at_us: int) -> Decision:
    """Queue the job that says what the rollout would do, which ends the intent when it ends."""
    candidate = await releases.find(s, arguments.release)
    service = await services.find(s, intent.target)
    able = await starts.able(s, candidate)
    unscored_ = await starts.unscored(s, service, arguments.guards)
    wanted = starts.Wanted(service=service, candidate=candidate, able=able, unscored=unscored_)
    decision = starts.decide(wanted, arguments)
    stable = starts.whole(service)
    if not isinstance(decision.plan, tuple) or stable is None:
        return decision
    guards = rollout_guards.GUARDS if arguments.guards is None else arguments.guards
    job = await jobs.add(
        s,
        kind=rollout_plans.JOB,
        target=service.name,
        arguments={
            "stable": stable,
            "candidate": candidate.number,
            "strategy": arguments.strategy.value,
            "steps": msgspec.to_builtins(decision.plan),
            "guards": msgspec.to_builtins(guards),
            "memory": await memory.words(s, candidate.number, at_us),
            "unscored": unscored(arguments, candidate),
        },
        actor=intent.actor,
        intent_id=intent.id,
        at_us=at_us,
        max_failures=2,
    )
    return Decision(Reason.QUEUED, f"Job {job.id} plans it.", job)


def unscored(arguments: verbs.rollouts.Start, candidate: Release) -> str:
    """Why a shadow of this candidate does not score stable's answers; empty where it does."""
    steps = arguments.steps or rollout_steps.DEFAULTS[arguments.strategy]
    shadows = any(isinstance(step, rollout_steps.Mirror) for step in steps)
    if not shadows or candidate.backend is Backend.LOCAL:
        return ""
    return (
        f"a server scores the continuation of a text, not of a chat: how likely {candidate.name} "
        "finds stable's answers to chats will not be known"
    )
