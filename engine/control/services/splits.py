"""Splits of services: weights are set, or an earlier split is restored.

Whether a split may be set is decided purely by `decide` and `decide_undo`. Imported by
`engine.control.handlers`, through the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.control import loadable, memory
from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import releases, services, splits
from storage.control_socket import verbs
from storage.intents import Intent
from storage.services import Arm, Service, Split
from storage.store import Session


@dataclass(frozen=True, slots=True)
class Observed:
    """What the decision about a split rests on. `broken` says why a release cannot be loaded."""

    service: Service
    broken: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Undo:
    """What the decision about going back rests on.

    `undone` is the split that the named intent set; None without an intent, or if it set none.
    `target` is the split to go back to, as it was first set; None if there is none.
    """

    service: Service
    undone: Split | None
    target: Split | None
    broken: Mapping[int, str]


@handles("services.split")
async def split(
    s: Session, intent: Intent, arguments: verbs.services.Split, at_us: int
) -> Decision:
    """Set the weights of the arms."""
    service = await services.find(s, intent.target)
    arms = tuple(
        [
            Arm(release=(await releases.find(s, name)).number, weight_bp=weight)
            for name, weight in arguments.arms.items()
        ]
    )
    services.check_arms(arms)
    decision = decide(
        arms, Observed(service, await loadable.broken(s, arms)), intent.expected_version
    )
    had = {arm.release for arm in service.split.arms}
    new = [arm for arm in arms if arm.release not in had]
    if decision.reason is Reason.APPLIED:
        if new and (refusal := await memory.refuse(s, new, at_us)):
            return refusal
        await services.set_split(
            s,
            service=service.name,
            arms=arms,
            expected_version=intent.expected_version,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
    return decision


@handles("services.undo")
async def undo(s: Session, intent: Intent, arguments: verbs.services.Undo, at_us: int) -> Decision:
    """Go back to the split that is named; no change if the service is at it already."""
    observed = await _observe_undo(s, await services.find(s, intent.target), arguments)
    decision = decide_undo(observed, arguments.intent)
    if isinstance(decision.plan, Split) and decision.reason is Reason.APPLIED:
        await services.go_back(
            s,
            service=observed.service.name,
            to=decision.plan.id,
            expected_version=intent.expected_version,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
    return decision


async def _observe_undo(s: Session, service: Service, arguments: verbs.services.Undo) -> Undo:
    undone = before = None
    if arguments.intent is None:
        target = await services.find_split(s, service.name, arguments.to or 0)
    else:
        undone = await services.split_of_intent(s, service.name, arguments.intent)
        if undone is not None:
            before = await services.split_before(s, service.name, undone.id)
        if before is None:
            return Undo(service, undone, None, {})
        target = await services.find_split(s, service.name, splits.origin(before))
    return Undo(service, undone, target, await loadable.broken(s, target.arms))


def decide(arms: Sequence[Arm], observed: Observed, expected_version: int | None) -> Decision:
    """Whether a split that is well formed may be set; the same split again changes nothing."""
    service = observed.service
    if refusal := loadable.refuse(arms, observed.broken, service.split.arms):
        return refusal
    same = {*arms} == {*service.split.arms}
    if same and expected_version in {None, service.version}:
        said = splits.words(splits.pairs(arms))
        return Decision(Reason.UNCHANGED, f"{service.name} already has this split: {said}.", arms)
    return Decision(Reason.APPLIED, _outcome(service, arms), tuple(arms))


def decide_undo(undo: Undo, intent: int | None) -> Decision:
    """Whether a service goes back, and to which split; `intent` is the one to undo, if it is named.

    An intent is undone only while nothing else changed the split after it.
    """
    service, undone, target = undo.service, undo.undone, undo.target
    if intent is not None and undone is None:
        said = f"Intent {intent} did not set a split of {service.name}."
        return Decision(Reason.UNKNOWN, f"{said} Name the split to go back to with --to.")
    if target is None:
        said = f"There is no split of {service.name} before the one that intent {intent} set."
        return Decision(Reason.INVALID, said)
    arms = splits.words(splits.pairs(service.split.arms))
    at = splits.origin(service.split)
    if undone is not None and service.split.id != undone.id and at != splits.origin(target):
        said = f"{service.name} changed after intent {intent}: {service.split.set_by} set {arms}."
        return Decision(Reason.MOVED, f"{said} Name the split to go back to with --to.")
    if at == splits.origin(target):
        said = f"{service.name} is already at split {at} ({arms}); no change."
        return Decision(Reason.UNCHANGED, said, service.split)
    if refusal := loadable.refuse(target.arms, undo.broken, service.split.arms, going_back=True):
        return refusal
    lost = "" if service.owner is None else f" {service.owner.name} no longer owns the split."
    return Decision(Reason.APPLIED, _outcome(service, target.arms) + lost, target)


def _outcome(before: Service, arms: Sequence[Arm]) -> str:
    now, was = (splits.words(splits.pairs(each)) for each in (arms, before.split.arms))
    return f"{before.name}: {now} (before: {was})."
