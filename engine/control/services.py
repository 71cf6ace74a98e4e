"""Services and their splits: create, split, go back, freeze, set, remove.

Decides by what the store holds; the gateway and the node act on the split that is set. Imported by
`engine.control.handlers`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from engine.control import loadable, memory
from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.control.rollouts import starting, starts
from storage import measures, releases, services, splits
from storage.control_socket import verbs
from storage.intents import Intent
from storage.measures import Window
from storage.rollout_steps import OnLabel
from storage.service_rows import PrefixCache
from storage.services import Arm, Service, Split
from storage.store import Session

TRAFFIC_S: Final = 300
"""A service that answered a request within this time is in use."""


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


@handles("services.create")
async def create(
    s: Session, intent: Intent, arguments: verbs.services.Create, at_us: int
) -> Decision:
    """A new service, all of it on one release."""
    release = await releases.find(s, arguments.release)
    arms = (Arm(release=release.number, weight_bp=services.WHOLE_BP),)
    if refusal := loadable.refuse(arms, await loadable.broken(s, arms)):
        return refusal
    if refusal := await memory.refuse(s, arms, at_us):
        return refusal
    created = await services.create(
        s,
        name=intent.target,
        release=release.number,
        record_text=arguments.record_text,
        staging_of=arguments.staging_of,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    of = "" if created.staging_of is None else f", the staging of {created.staging_of}"
    return Decision(
        Reason.APPLIED, f"Created service {created.name}{of}; {release.name} answers.", created
    )


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


@handles("services.freeze")
async def freeze(s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Refuse changes of the split from now on; the reason is the intent's."""
    service = await services.freeze(
        s,
        service=intent.target,
        reason=intent.reason,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    said = f"Froze {service.name}. `paddock services unfreeze {service.name}` allows changes again."
    return Decision(Reason.APPLIED, said, service)


@handles("services.unfreeze")
async def unfreeze(
    s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int
) -> Decision:
    """Allow changes of the split again."""
    before = await services.find(s, intent.target)
    if before.frozen is not None and before.frozen.box:
        said = f"{before.name} is {before.frozen.words}; `paddock unfreeze` allows changes again."
        return Decision(Reason.UNCHANGED, said, before)
    if before.frozen is None:
        return Decision(Reason.UNCHANGED, f"{before.name} is not frozen; no change.", before)
    service = await services.unfreeze(
        s, service=before.name, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    said = f"Unfroze {service.name}; it was {before.frozen.words}."
    return Decision(Reason.APPLIED, said, service)


@handles("services.set")
async def set(s: Session, intent: Intent, arguments: verbs.services.Set, at_us: int) -> Decision:
    """Set texts, labels, cached prompts and the key of the webhooks, as far as they are named."""
    before = await services.find(s, intent.target)
    by = {"actor": intent.actor, "at_us": at_us, "intent_id": intent.id}
    said, applied = [], False
    for setting in SETTINGS:
        if (asked := getattr(arguments, setting.name)) is None:
            continue
        to = asked if asked != "" else None
        changes = to != getattr(before, setting.name)
        if changes:
            await setting.set(s, service=before.name, **{setting.argument: to}, **by)
        said.append(f"{before.name}: {setting.words(to)}{setting.end(to, changes=changes)}")
        applied = applied or changes
    return Decision(Reason.APPLIED if applied else Reason.UNCHANGED, " ".join(said), before)


def _texts(to: bool) -> str:
    return f"texts are {'recorded' if to else 'not recorded'}"


def _labels(to: OnLabel) -> str:
    how = "at once" if to is OnLabel.AT_ONCE else f"by a {to.value.replace('_', '-')} rollout"
    return f"a label that moves is followed {how}"


def _cached(to: PrefixCache) -> str:
    how = "shared by all tenants" if to is PrefixCache.SHARED else "kept apart by tenant"
    return f"cached prompts are {how}"


def _signed(key: str | None) -> str:
    how = "not signed" if key is None else "signed by the key that was given"
    return f"messages of rollouts are {how}"


@dataclass(frozen=True, slots=True)
class Setting:
    """What `services.set` may set: a field of the verb and of the service with the same `name`.

    `set` changes it by the `argument`; `words` is what holds then, `leaves` what is still there.
    """

    name: str
    set: Callable[..., Awaitable[None]]
    argument: str
    words: Callable[[Any], str]
    leaves: Callable[[Any], str] = lambda _to: ""

    def end(self, to: object, *, changes: bool) -> str:
        """The end of the sentence."""
        return f" from now on.{self.leaves(to)}" if changes else "; no change."


SETTINGS: Final = (
    Setting(
        "record_text", services.set_record_text, "on", _texts,
        lambda to: "" if to else " Texts recorded before are kept until their retention ends.",
    ),
    Setting("on_label", services.set_on_label, "to", _labels),
    Setting("prefix_cache", services.set_prefix_cache, "to", _cached),
    Setting("webhook_secret", services.set_webhook_secret, "to", _signed),
)  # fmt: skip


@handles("services.promote")
async def promote(
    s: Session, intent: Intent, arguments: verbs.services.Promote, at_us: int
) -> Decision:
    """Start a rollout of the production service to the release that its staging serves."""
    staging = await services.find(s, intent.target)
    if staging.staging_of is None:
        said = f"{staging.name} is the staging of no service; start a rollout of its release with"
        return Decision(Reason.INVALID, f"{said} `paddock rollouts start`.")
    served = [arm.release for arm in staging.split.arms if arm.weight_bp > 0]
    if len(served) > 1:
        now = splits.words(splits.pairs(staging.split.arms))
        said = f"{staging.name} is split between releases ({now}); set it to one of them first."
        return Decision(Reason.INVALID, said)
    production = await services.find(s, staging.staging_of)
    return await starting.start(
        s,
        msgspec.structs.replace(intent, target=production.name),
        starts.as_usual(production, f"r{served[0]}", arguments.strategy),
        at_us,
    )


@handles("services.remove")
async def remove(
    s: Session, intent: Intent, arguments: verbs.services.Remove, at_us: int
) -> Decision:
    """Remove a service; one in use only with `despite_traffic`."""
    service = await services.find(s, intent.target)
    decision = decide_removal(service, await _answered(s, service.name, at_us), arguments)
    if decision.reason is Reason.APPLIED:
        await services.remove(
            s, service=service.name, actor=intent.actor, at_us=at_us, intent_id=intent.id
        )
    return decision


def decide_removal(service: Service, answered: int, arguments: verbs.services.Remove) -> Decision:
    """Whether a service may go: not while clients use it, unless that is said."""
    if answered and not arguments.despite_traffic:
        return Decision(
            Reason.IN_USE,
            f"{service.name} had {answered} requests within the last {TRAFFIC_S // 60} minutes; "
            "its clients would get 404. Move them first, or repeat with --despite-traffic.",
        )
    return Decision(Reason.APPLIED, f"Removed service {service.name}.", service)


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


def _outcome(before: Service, arms: Sequence[Arm]) -> str:
    now, was = (splits.words(splits.pairs(each)) for each in (arms, before.split.arms))
    return f"{before.name}: {now} (before: {was})."


async def _answered(s: Session, service: str, at_us: int) -> int:
    """The requests of a service within the last minutes."""
    window = Window.last(TRAFFIC_S, at_us // 1_000_000)
    return int(measures.requests_ended(await measures.traffic(s, window, service=service)) or 0)
