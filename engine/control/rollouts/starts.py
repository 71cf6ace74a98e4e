"""Decides whether a rollout may begin and by which steps, and reads what that needs.

Changes nothing. Imported by `engine.control.rollouts`, for the verbs that start a rollout, begin it
again, or plan it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.control.decisions import Decision, Reason
from storage import (
    availability,
    online_scores,
    rollout_guards,
    rollout_policies,
    rollout_steps,
    rollouts,
    services,
    splits,
)
from storage.availability import Availability, Can
from storage.control_socket import verbs
from storage.releases import Release
from storage.rollout_guards import Guard
from storage.rollout_steps import Strategy
from storage.rollouts import State
from storage.services import Service
from storage.splits import WHOLE_BP
from storage.store import Session

_SECOND_US: Final = 1_000_000
_PAST: Final = 50
"""How many rollouts of a service are looked through for a healthy past."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the decision about a start rests on; `service` is None where it would be the first.

    `healthy` says whether the candidate was the stable release until another one replaced it,
    within the rollback window. `unscored` says which guard would never count anything.
    """

    service: Service | None
    candidate: Release
    able: Availability
    healthy: bool = False
    unscored: str = ""


def decide(wanted: Wanted, arguments: verbs.rollouts.Start) -> Decision:
    """Whether a rollout may begin, and by which steps; the plan is the steps."""
    if (refusal := refuse(wanted)) is not None:
        return refusal
    release, service = wanted.candidate, wanted.service
    if service is None:
        said = f"Created service {{name}}; {release.name} answers."
        return Decision(Reason.APPLIED, said, rollout_steps.AT_ONCE)
    stable = whole(service)
    shadow = arguments.strategy is Strategy.SHADOW  # it is asked for to see the candidate first
    if shadow and release.engine is not None and release.engine.task != "text":
        said = f"A shadow compares texts, and {release.name} is for {release.engine.task}"
        return Decision(Reason.INVALID, f"{said}; lead it by a canary.")
    asked = arguments.steps is not None and not arguments.by_policy
    if wanted.healthy and not asked and not shadow:
        said = f"{release.name} was healthy within the rollback window; the steps are skipped."
        return Decision(Reason.APPLIED, said, rollout_steps.AT_ONCE)
    steps = arguments.steps or rollout_steps.DEFAULTS[arguments.strategy]
    said = f"r{stable} → {release.name} in {len(steps)} steps: "
    said += ", ".join(rollout_steps.words(step) for step in steps)
    return Decision(Reason.APPLIED, f"{said}.", steps)


def refuse(wanted: Wanted) -> Decision | None:
    """Why a rollout may not begin; None if it may. The store adds who owns or froze the split."""
    release, service = wanted.candidate, wanted.service
    if wanted.able.can is Can.NOT:
        return Decision(Reason.UNLOADABLE, f"{release.name} cannot answer: {wanted.able.reason}.")
    if service is None:
        return None
    if wanted.unscored:
        return Decision(Reason.INVALID, wanted.unscored)
    stable = whole(service)
    if stable is None and service.owner is None:
        arms = splits.words(splits.pairs(service.split.arms))
        said = f"{service.name} is split between releases ({arms}); set it to one of them first"
        return Decision(Reason.INVALID, f"{said} with `paddock services split`.")
    if stable == release.number and service.owner is None:
        said = f"{release.name} is the stable release of {service.name} already."
        return Decision(Reason.INVALID, f"{said} Name another one.")
    if service.owner is not None:
        raise services.owned(service, service.owner)
    return None


async def healthy(
    s: Session, service: Service, release: Release, at_us: int, window_s: int
) -> bool:
    """Whether a release was the stable one until a rollout replaced it, within the window."""
    since_us = at_us - window_s * _SECOND_US
    return any(
        past.state is State.COMPLETED
        and past.stable == release.number
        and (past.ended_at_us or 0) >= since_us
        for past in await rollouts.tail(s, _PAST, service=service.name)
    )


def as_usual(
    service: Service, release: str, strategy: Strategy | None = None
) -> verbs.rollouts.Start:
    """The default start of a rollout: by the service's policy, if it has one.

    A `strategy` is used in place of the policy's; `rollout_policies.resolved` says what is kept.
    """
    given = {} if strategy is None else {"strategy": strategy}
    fields, by_policy = rollout_policies.resolved(service.rollout_policy, given)
    return verbs.rollouts.Start(release=release, by_policy=by_policy, **fields)


async def unscored(s: Session, service: Service | None, guards: Sequence[Guard] | None) -> str:
    """Which guard would never count anything, and what to do; empty where all do."""
    if service is None:
        return ""
    known = rollout_guards.GUARDS if guards is None else guards
    return await online_scores.missing(s, service, known)


async def able(s: Session, release: Release) -> Availability:
    """Whether a release can answer now, or could if it were loaded."""
    return (await availability.every(s, [release.number]))[release.number]


def whole(service: Service) -> int | None:
    """The release that has all of the traffic, None where several share it."""
    for arm in service.split.arms:
        if arm.weight_bp == WHOLE_BP:
            return arm.release
    return None
