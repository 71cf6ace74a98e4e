"""The verb that starts a rollout, for people and for verbs that lead to one.

Whether one may begin is decided by `starts`. Imported by `engine.control.handlers`, through the
package, and by the verbs that lead to a start.
"""

from __future__ import annotations

from engine.control import memory
from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.control.rollouts import act, starts, webhooks
from storage import releases, rollout_guards, rollouts, services
from storage.control_socket import verbs
from storage.intents import Intent
from storage.releases import Release
from storage.rollouts import State, Why
from storage.splits import Arm
from storage.store import Session


@handles("rollouts.start")
async def start(
    s: Session, intent: Intent, arguments: verbs.rollouts.Start, at_us: int
) -> Decision:
    """Start a rollout, or create the service with its first release."""
    return await begin(s, intent, arguments, at_us)


async def begin(
    s: Session,
    intent: Intent,
    arguments: verbs.rollouts.Start,
    at_us: int,
    *,
    undoes: int | None = None,
) -> Decision:
    """Start a rollout if it may begin; `undoes` is the rollout from which it leads back."""
    candidate = await releases.find(s, arguments.release)
    service = await services.look_up(s, intent.target)
    wanted = starts.Wanted(
        service=service,
        candidate=candidate,
        able=await starts.able(s, candidate),
        healthy=service is not None
        and await starts.healthy(s, service, candidate, at_us, arguments.rollback_window_s),
        unscored=await starts.unscored(s, service, arguments.guards),
    )
    decision = starts.decide(wanted, arguments)
    if not isinstance(decision.plan, tuple):
        return decision
    said = decision.sentence.replace("{name}", intent.target)
    first = service is None
    key = None if service is None else service.webhook_secret
    if (refusal := await too_large(s, candidate, at_us)) is not None:
        return refusal
    if first:
        await services.create(
            s, name=intent.target, release=candidate.number, record_text=False,
            actor=intent.actor, at_us=at_us, intent_id=intent.id,
        )  # fmt: skip
    rollout = await rollouts.add(
        s,
        service=intent.target,
        stable=None if service is None else starts.whole(service),
        candidate=candidate.number,
        strategy=arguments.strategy,
        steps=decision.plan,
        guards=rollout_guards.GUARDS if arguments.guards is None else arguments.guards,
        load_timeout_s=arguments.load_timeout_s,
        rollback_window_s=arguments.rollback_window_s,
        state=State.COMPLETED if first else State.LOADING,
        why=Why.FIRST if first else Why.STARTED,
        sentence=said,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
        undoes=undoes,
        webhook_secret=arguments.webhook_secret or key,
        notify=arguments.notify,
    )
    if first:
        await webhooks.notify(s, rollout, actor=intent.actor, at_us=at_us)
    else:
        await act.own(s, rollout, actor=intent.actor, at_us=at_us, intent_id=intent.id)
        said = f"Started rollout {rollout.id} of {rollout.service}: {said}"
    return Decision(Reason.APPLIED, said, rollout)


async def too_large(s: Session, candidate: Release, at_us: int) -> Decision | None:
    """The refusal of a candidate that does not fit into memory."""
    return await memory.refuse(s, [Arm(release=candidate.number, weight_bp=0)], at_us)
