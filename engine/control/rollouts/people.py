"""What people ask of rollouts: start, pause, promote, abort, retry, undo.

Each verb decides by the rollout as it is in its own transaction: of two people who ask at once one
wins, and the other is refused with what happened. Imported by `engine.control.handlers`, through
the package.
"""

from __future__ import annotations

from typing import Final

from engine.control import memory
from engine.control.decisions import Decision, Reason, Refusal
from engine.control.handlers import handles
from engine.control.rollouts import act, facts, starts, webhooks
from engine.control.rollouts.decide import Do, Plan, blocked, following, with_looks
from storage import (
    releases,
    rollout_steps,
    rollouts,
    services,
    splits,
)
from storage.availability import Can
from storage.control_socket import verbs
from storage.intents import Intent
from storage.releases import Release
from storage.rollout_steps import Strategy
from storage.rollouts import OPEN, Phase, Rollout, State, Why
from storage.services import Service
from storage.splits import Arm
from storage.store import Session

_SECOND_US: Final = 1_000_000


@handles("rollouts.start")
async def start(
    s: Session, intent: Intent, arguments: verbs.rollouts.Start, at_us: int
) -> Decision:
    """Start a rollout, or create the service with its first release."""
    return await _start(s, intent, arguments, at_us)


@handles("rollouts.pause")
async def pause(s: Session, intent: Intent, arguments: verbs.rollouts.Of, at_us: int) -> Decision:
    """Stop before the next step; harm is still looked for."""
    rollout = await _named(s, intent, arguments.rollout)
    if rollout.state is State.PAUSED:
        return Decision(Reason.UNCHANGED, f"{_name(rollout)} is paused already.", rollout)
    _require_open(rollout)
    said = _said(intent, "paused it")
    paused = await rollouts.move(
        s, rollout, State.PAUSED, Why.HELD, said, actor=intent.actor, at_us=at_us,
        intent_id=intent.id, resumes=rollout.state.value,
    )  # fmt: skip
    await webhooks.notify(s, paused, actor=intent.actor, at_us=at_us)
    return Decision(Reason.APPLIED, f"{_name(rollout)} is paused; its weights stay.", rollout)


@handles("rollouts.promote")
async def promote(
    s: Session, intent: Intent, arguments: verbs.rollouts.Promote, at_us: int
) -> Decision:
    """On to the next step, or with `full` to all of the traffic."""
    rollout = await _named(s, intent, arguments.rollout)
    _require_open(rollout)
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
    rollout = await _named(s, intent, arguments.rollout)
    if rollout.state is State.ABORTED:
        said = f"{_name(rollout)} was aborted already: {rollout.sentence}"
        return Decision(Reason.UNCHANGED, said, rollout)
    _require_open(rollout)
    return await _abort(s, rollout, intent, at_us)


@handles("rollouts.retry")
async def retry(s: Session, intent: Intent, arguments: verbs.rollouts.Of, at_us: int) -> Decision:
    """Begin an aborted rollout again, from its first step."""
    rollout = await _named(s, intent, arguments.rollout)
    if rollout.state is not State.ABORTED:
        said = f"{_name(rollout)} is {rollout.state.value}; only an aborted one can be retried."
        return Decision(Reason.MOVED, said)
    candidate = await releases.get(s, rollout.candidate)
    service = await services.find(s, rollout.service)
    refusal = starts.refuse(
        starts.Wanted(service=service, candidate=candidate, able=await starts.able(s, candidate))
    )
    if refusal is not None:
        return refusal
    if starts.whole(service) != rollout.stable:
        said = f"{service.name} is on another release than when {_name(rollout)} began"
        return Decision(Reason.MOVED, f"{said}; start a new one.")
    if (refusal := await _too_large(s, candidate, at_us)) is not None:
        return refusal
    said = _said(intent, "retried it")
    again = await rollouts.move(
        s, rollout, State.LOADING, Why.RETRIED, said, actor=intent.actor, at_us=at_us,
        intent_id=intent.id, attempt=rollout.attempt + 1, began_at_us=at_us, step=None,
        step_began_us=None, weight_bp=0, exposed_at_us=None, keep_until_us=None, impact=None,
        smoke_job_id=None, webhook_job_id=None,
    )  # fmt: skip
    await act.own(s, again, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    return Decision(
        Reason.APPLIED, f"{_name(rollout)} begins again, attempt {again.attempt}.", again
    )


@handles("rollouts.undo")
async def undo(s: Session, intent: Intent, arguments: verbs.rollouts.Undo, at_us: int) -> Decision:
    """Back to the release before a rollout, or to that of a revision; never forth again."""
    if arguments.to_revision is not None:
        return await _to_revision(s, intent, arguments.to_revision, at_us)
    rollout = await _named(s, intent, arguments.rollout or 0)
    if rollout.state in OPEN:
        return await _abort(s, rollout, intent, at_us)
    return await _undo(s, rollout, intent, at_us)


async def _undo(s: Session, rollout: Rollout, intent: Intent, at_us: int) -> Decision:
    """Back from a rollout that has ended: at once, or by a rollout that loads the release first."""
    service = await services.find(s, rollout.service)
    decision = decide_undo(rollout, service, await rollouts.undoing(s, rollout.id))
    if decision.reason is not Reason.APPLIED or rollout.stable is None:
        return decision
    before = await releases.get(s, rollout.stable)
    if (await starts.able(s, before)).can is not Can.ANSWER:
        back = verbs.rollouts.Start(release=before.name, strategy=Strategy.BLUE_GREEN)
        return await _start(s, intent, back, at_us, undoes=rollout.id)
    said = f"{service.name} is back on {before.name}; {intent.actor} undid rollout {rollout.id}."
    await act.undo(s, rollout, said, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    return Decision(Reason.APPLIED, said, rollout)


def decide_undo(rollout: Rollout, service: Service, undoing: Rollout | None) -> Decision:
    """Whether a rollout that has ended is undone; `undoing` is a rollout that does so already."""
    whole = starts.whole(service)
    if rollout.state is not State.COMPLETED or whole == rollout.stable:
        said = f"{service.name} is back from r{rollout.candidate} already; no change."
        return Decision(Reason.UNCHANGED, said, rollout)
    if undoing is not None and undoing.state in OPEN:
        said = f"{_name(undoing)} undoes it already: {undoing.sentence}"
        return Decision(Reason.UNCHANGED, said, rollout)
    if rollout.stable is None:
        said = f"r{rollout.candidate} is the first release of {service.name}"
        return Decision(Reason.INVALID, f"{said}; there is nothing to go back to.")
    if whole != rollout.candidate:
        arms = splits.words(splits.pairs(service.split.arms))
        return Decision(Reason.MOVED, f"{service.name} changed since: it is at {arms}. Look again.")
    if service.owner is not None:
        raise services.owned(service, service.owner)
    return Decision(Reason.APPLIED, f"{service.name} goes back to r{rollout.stable}.", rollout)


def decide_promote(found: facts.Facts, intent: Intent, *, full: bool) -> Decision:
    """Where a person's promotion leads: to the next step, back from a pause, or to the end."""
    rollout = found.rollout
    seen = intent.expected_version
    if seen is not None and seen != rollout.version:
        said = f"{_name(rollout)} changed since you looked: {rollout.sentence} Look again."
        return Decision(Reason.MOVED, said)
    if rollout.resumes is not None and not full:
        said = f"{intent.actor} let it continue."
        return Decision(Reason.APPLIED, said, rollout.resumes)
    if rollout.step is None:
        said = f"{_name(rollout)} cannot be promoted yet: {rollout.sentence}"
        return Decision(Reason.INVALID, said)
    if (why := blocked(found)) is not None:
        return Decision(
            Reason.FROZEN if found.service and found.service.frozen else Reason.INVALID, why
        )
    said = _said(intent, "promoted it")
    if full:
        plan = Plan(
            do=Do.COMPLETE, rollout=rollout, why=Why.PROMOTED_FULLY,
            sentence=f"{said} r{rollout.candidate} has all of the traffic.",
        )  # fmt: skip
    else:
        plan = following(rollout, Why.PROMOTED, said)
    return Decision(Reason.APPLIED, plan.sentence, with_looks(plan, found))


async def _start(
    s: Session,
    intent: Intent,
    arguments: verbs.rollouts.Start,
    at_us: int,
    *,
    undoes: int | None = None,
) -> Decision:
    candidate = await releases.find(s, arguments.release)
    service = await services.look_up(s, intent.target)
    wanted = starts.Wanted(
        service=service,
        candidate=candidate,
        able=await starts.able(s, candidate),
        healthy=service is not None
        and await starts.healthy(s, service, candidate, at_us, arguments.rollback_window_s),
    )
    decision = starts.decide(wanted, arguments)
    if not isinstance(decision.plan, tuple):
        return decision
    said = decision.sentence.replace("{name}", intent.target)
    first = service is None
    if (refusal := await _too_large(s, candidate, at_us)) is not None:
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
        guards=rollout_steps.GUARDS if arguments.guards is None else arguments.guards,
        load_timeout_s=arguments.load_timeout_s,
        rollback_window_s=arguments.rollback_window_s,
        state=State.COMPLETED if first else State.LOADING,
        why=Why.FIRST if first else Why.STARTED,
        sentence=said,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
        undoes=undoes,
        webhook_secret=arguments.webhook_secret,
        notify=arguments.notify,
    )
    if first:
        await webhooks.notify(s, rollout, actor=intent.actor, at_us=at_us)
    else:
        await act.own(s, rollout, actor=intent.actor, at_us=at_us, intent_id=intent.id)
        said = f"Started rollout {rollout.id} of {rollout.service}: {said}"
    return Decision(Reason.APPLIED, said, rollout)


async def _to_revision(s: Session, intent: Intent, revision: int, at_us: int) -> Decision:
    """Back to the release of a revision; 0 is the release before the first rollout.

    Where that is the release before the live one, as the undo of the rollout that led to it; else
    by a rollout, which a freeze does not forbid if it leads to an earlier revision.
    """
    past = await rollouts.of_revision(s, intent.target, max(revision, 1))
    number = past.stable if revision == 0 else past.candidate
    if number is None:
        return Decision(Reason.UNKNOWN, f"{intent.target} had no release before its first rollout.")
    service = await services.find(s, intent.target)
    latest = await rollouts.latest(s, service.name)
    if starts.whole(service) == number and (
        latest is None or latest.phase is not Phase.PROGRESSING
    ):
        said = f"{service.name} is on r{number}, revision {revision}, already; no change."
        return Decision(Reason.UNCHANGED, said, service)
    if latest is not None and latest.state in OPEN and latest.candidate == number:
        said = f"{_name(latest)} leads to r{number} already: {latest.sentence}"
        return Decision(Reason.UNCHANGED, said, latest)
    led = await _led_to(s, service)
    if led is not None and led.stable == number:
        return await _undo(s, led, intent, at_us)
    back = verbs.rollouts.Start(release=f"r{number}", strategy=Strategy.BLUE_GREEN)
    undoes = led.id if led is not None and revision < led.revision else None
    return await _start(s, intent, back, at_us, undoes=undoes)


async def _led_to(s: Session, service: Service) -> Rollout | None:
    """The newest completed rollout to the release that has all of the traffic, if there is one."""
    whole = starts.whole(service)
    past = await rollouts.tail(s, service=service.name)
    completed = (each for each in past if each.state is State.COMPLETED)
    return next((each for each in completed if each.candidate == whole), None)


async def _abort(s: Session, rollout: Rollout, intent: Intent, at_us: int) -> Decision:
    found = await facts.read(s, rollout, at_us)
    said = _said(intent, "aborted it")
    why = Why.ABORTED if found.owned else Why.TAKEN  # a split that a person set is left alone
    plan = with_looks(Plan(do=Do.ABORT, rollout=rollout, why=why, sentence=said), found)
    await act.carry_out(s, plan, at_us, actor=intent.actor, intent_id=intent.id)
    where = f"all traffic of {rollout.service} is on r{rollout.stable}"
    return Decision(Reason.APPLIED, f"{_name(rollout)} is aborted; {where}.", rollout)


async def _named(s: Session, intent: Intent, id: int) -> Rollout:
    """The rollout that an intent names, which is one of its target."""
    rollout = await rollouts.find(s, id)
    if rollout.service != intent.target:
        said = f"Rollout {id} is one of {rollout.service}, not of {intent.target}."
        raise Refusal(Reason.UNKNOWN, said)
    return rollout


def _require_open(rollout: Rollout) -> None:
    if rollout.state in OPEN:
        return
    advice = {
        State.ABORTED: "retry it with `paddock rollouts retry`",
        State.COMPLETED: "go back with `paddock rollouts undo`",
        State.UNDONE: "start a new one",
    }[rollout.state]
    said = f"{_name(rollout)} is {rollout.state.value}: {rollout.sentence} To change it, {advice}."
    raise Refusal(Reason.MOVED, said)


async def _too_large(s: Session, candidate: Release, at_us: int) -> Decision | None:
    """The refusal of a candidate that does not fit beside what is loaded."""
    return await memory.refuse(s, [Arm(release=candidate.number, weight_bp=0)], at_us)


def _said(intent: Intent, what: str) -> str:
    """What a person did, with the reason, as a sentence."""
    reason = intent.reason.strip().rstrip(".")
    return f"{intent.actor} {what}: {reason}." if reason else f"{intent.actor} {what}."


def _name(rollout: Rollout) -> str:
    return f"Rollout {rollout.id} of {rollout.service}"
