"""The lifecycle of services: created, promoted from staging, frozen, removed.

Imported by `engine.control.handlers`, through the package.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.control import loadable, memory
from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from engine.control.rollouts import starting, starts
from storage import measures, releases, services, splits
from storage.control_socket import verbs
from storage.intents import Intent
from storage.measures import Window
from storage.services import Arm, Service
from storage.store import Session

TRAFFIC_S: Final = 300
"""A service that answered a request within this time is in use."""


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


async def _answered(s: Session, service: str, at_us: int) -> int:
    """The requests of a service within the last minutes."""
    window = Window.last(TRAFFIC_S, at_us // 1_000_000)
    return int(measures.requests_ended(await measures.traffic(s, window, service=service)) or 0)
