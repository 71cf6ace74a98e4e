"""The verb that goes back: from the newest rollout, or to the release of a revision.

Never forth again: undoing twice goes back once. Imported by `engine.control.handlers`, through the
package.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.control.rollouts import act, named, people, starting, starts
from storage import releases, rollouts, services, splits
from storage.availability import Can
from storage.control_socket import verbs
from storage.intents import Intent
from storage.rollout_steps import Strategy
from storage.rollouts import OPEN, Phase, Rollout, State
from storage.services import Service
from storage.store import Session


@handles("rollouts.undo")
async def undo(s: Session, intent: Intent, arguments: verbs.rollouts.Undo, at_us: int) -> Decision:
    """Back to the release before a rollout, or to that of a revision; never forth again."""
    if arguments.to_revision is not None:
        return await _to_revision(s, intent, arguments.to_revision, at_us)
    rollout = await named.find(s, intent, arguments.rollout or 0)
    if rollout.state in OPEN:
        return await people.back(s, rollout, intent, at_us)
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
        return await starting.begin(s, intent, back, at_us, undoes=rollout.id)
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
        said = f"{named.name(undoing)} undoes it already: {undoing.sentence}"
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
        said = f"{named.name(latest)} leads to r{number} already: {latest.sentence}"
        return Decision(Reason.UNCHANGED, said, latest)
    led = await _led_to(s, service)
    if led is not None and led.stable == number:
        return await _undo(s, led, intent, at_us)
    back = verbs.rollouts.Start(release=f"r{number}", strategy=Strategy.BLUE_GREEN)
    undoes = led.id if led is not None and revision < led.revision else None
    return await starting.begin(s, intent, back, at_us, undoes=undoes)


async def _led_to(s: Session, service: Service) -> Rollout | None:
    """The newest completed rollout to the release that has all of the traffic, if there is one."""
    whole = starts.whole(service)
    past = await rollouts.tail(s, service=service.name)
    completed = (each for each in past if each.state is State.COMPLETED)
    return next((each for each in completed if each.candidate == whole), None)
