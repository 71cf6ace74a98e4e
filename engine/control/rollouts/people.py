"""What people ask of a rollout that is under way, or was aborted: pause, promote, abort, retry.

Each verb decides by the rollout as it is in its own transaction: of two people who ask at once one
wins, and the other is refused with what happened. Imported by `engine.control.handlers`, through
the package.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.control.rollouts import act, facts, named, starting, starts, webhooks
from engine.control.rollouts.decide import Do, Plan, blocked, following, with_looks
from storage import releases, rollouts, services
from storage.control_socket import verbs
from storage.intents import Intent
from storage.rollouts import Rollout, State, Why
from storage.store import Session


@handles("rollouts.pause")
async def pause(s: Session, intent: Intent, arguments: verbs.rollouts.Of, at_us: int) -> Decision:
    """Stop before the next step; harm is still looked for."""
    rollout = await named.find(s, intent, arguments.rollout)
    if rollout.state is State.PAUSED:
        return Decision(Reason.UNCHANGED, f"{named.name(rollout)} is paused already.", rollout)
    named.require_open(rollout)
    said = named.said(intent, "paused it")
    paused = await rollouts.move(
        s, rollout, State.PAUSED, Why.HELD, said, actor=intent.actor, at_us=at_us,
        intent_id=intent.id, resumes=rollout.state.value,
    )  # fmt: skip
    await webhooks.notify(s, paused, actor=intent.actor, at_us=at_us)
    return Decision(Reason.APPLIED, f"{named.name(rollout)} is paused; its weights stay.", rollout)


@handles("rollouts.promote")
async def promote(
    s: Session, intent: Intent, arguments: verbs.rollouts.Promote, at_us: int
) -> Decision:
    """On to the next step, or with `full` to all of the traffic."""
    rollout = await named.find(s, intent, arguments.rollout)
    named.require_open(rollout)
    decision = decide_promote(await facts.read(s, rollout, at_us), intent, full=arguments.full)
    if isinstance(decision.plan, Plan):
        await act.carry_out(s, decision.plan, at_us, actor=intent.actor, intent_id=intent.id)
    elif isinstance(decision.plan, State):
        await rollouts.move(
            s, rollout, decision.plan, Why.RESUMED, decision.sentence, actor=intent.actor,
            at_us=at_us, intent_id=intent.id, resumes=None,
        )  # fmt: skip
    return decision


@handles("rollouts.abort")
async def abort(s: Session, intent: Intent, arguments: verbs.rollouts.Of, at_us: int) -> Decision:
    """All traffic back to the stable release, from any step."""
    rollout = await named.find(s, intent, arguments.rollout)
    if rollout.state is State.ABORTED:
        said = f"{named.name(rollout)} was aborted already: {rollout.sentence}"
        return Decision(Reason.UNCHANGED, said, rollout)
    named.require_open(rollout)
    return await back(s, rollout, intent, at_us)


@handles("rollouts.retry")
async def retry(s: Session, intent: Intent, arguments: verbs.rollouts.Of, at_us: int) -> Decision:
    """Begin an aborted rollout again, from its first step."""
    rollout = await named.find(s, intent, arguments.rollout)
    if rollout.state is not State.ABORTED:
        said = f"{named.name(rollout)} is {rollout.state.value}"
        return Decision(Reason.MOVED, f"{said}; only an aborted one can be retried.")
    candidate = await releases.get(s, rollout.candidate)
    service = await services.find(s, rollout.service)
    refusal = starts.refuse(
        starts.Wanted(service=service, candidate=candidate, able=await starts.able(s, candidate))
    )
    if refusal is not None:
        return refusal
    if starts.whole(service) != rollout.stable:
        said = f"{service.name} is on another release than when {named.name(rollout)} began"
        return Decision(Reason.MOVED, f"{said}; start a new one.")
    if (refusal := await starting.too_large(s, candidate, at_us)) is not None:
        return refusal
    said = named.said(intent, "retried it")
    again = await rollouts.move(
        s, rollout, State.LOADING, Why.RETRIED, said, actor=intent.actor, at_us=at_us,
        intent_id=intent.id, attempt=rollout.attempt + 1, began_at_us=at_us, step=None,
        step_began_us=None, weight_bp=0, exposed_at_us=None, keep_until_us=None, impact=None,
        smoke_job_id=None, webhook_job_id=None,
    )  # fmt: skip
    await act.own(s, again, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    return Decision(
        Reason.APPLIED, f"{named.name(rollout)} begins again, attempt {again.attempt}.", again
    )


def decide_promote(found: facts.Facts, intent: Intent, *, full: bool) -> Decision:
    """Where a person's promotion leads: to the next step, back from a pause, or to the end."""
    rollout = found.rollout
    seen = intent.expected_version
    if seen is not None and seen != rollout.version:
        said = f"{named.name(rollout)} changed since you looked: {rollout.sentence} Look again."
        return Decision(Reason.MOVED, said)
    if rollout.resumes is not None and not full:
        said = f"{intent.actor} let it continue."
        return Decision(Reason.APPLIED, said, rollout.resumes)
    if rollout.step is None:
        said = f"{named.name(rollout)} cannot be promoted yet: {rollout.sentence}"
        return Decision(Reason.INVALID, said)
    if (why := blocked(found)) is not None:
        return Decision(
            Reason.FROZEN if found.service and found.service.frozen else Reason.INVALID, why
        )
    said = named.said(intent, "promoted it")
    if full:
        plan = Plan(
            do=Do.COMPLETE, rollout=rollout, why=Why.PROMOTED_FULLY,
            sentence=f"{said} r{rollout.candidate} has all of the traffic.",
        )  # fmt: skip
    else:
        plan = following(rollout, Why.PROMOTED, said)
    return Decision(Reason.APPLIED, plan.sentence, with_looks(plan, found))


async def back(s: Session, rollout: Rollout, intent: Intent, at_us: int) -> Decision:
    """Abort a rollout that is under way; a split that a person has set since is kept."""
    found = await facts.read(s, rollout, at_us)
    said = named.said(intent, "aborted it")
    why = Why.ABORTED if found.owned else Why.TAKEN
    plan = with_looks(Plan(do=Do.ABORT, rollout=rollout, why=why, sentence=said), found)
    await act.carry_out(s, plan, at_us, actor=intent.actor, intent_id=intent.id)
    where = f"all traffic of {rollout.service} is on r{rollout.stable}"
    return Decision(Reason.APPLIED, f"{named.name(rollout)} is aborted; {where}.", rollout)
