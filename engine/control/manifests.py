"""Carries out what a manifest says of a service: its releases, its split, its texts.

All of it in one transaction: a refused arm leaves no release behind. Imported by
`engine.control.handlers`.
"""

from __future__ import annotations

from engine.control import loadable, memory, releases
from engine.control.decisions import Decision, Reason, Refusal
from engine.control.handlers import handles
from storage import service_rows, services, splits
from storage.control_socket import verbs
from storage.intents import Intent
from storage.releases import Release
from storage.services import Arm
from storage.store import Session


@handles("manifests.apply")
async def apply(s: Session, intent: Intent, asked: verbs.manifests.Apply, at_us: int) -> Decision:
    """Make the intent's target what it should be; nothing is written where it is already.

    Raises:
        Refusal: a release cannot be created, cannot answer, or does not fit into memory.
        errors.Moved, errors.Frozen, errors.NotOwner: the split cannot be changed now.
    """
    before = await services.look_up(s, intent.target)
    arms = await _arms(s, intent, asked, at_us)
    had = () if before is None else before.split.arms
    if refusal := loadable.refuse(arms, await loadable.broken(s, arms), had):
        raise Refusal(refusal.reason, refusal.sentence)
    split_is_kept = before is not None and {*arms} == {arm for arm in had if arm.weight_bp}
    texts_are_kept = before is not None and before.record_text == asked.record_text
    staging_is_kept = before is not None and before.staging_of == asked.staging_of
    if split_is_kept and texts_are_kept and staging_is_kept:
        said = f"{intent.target} is what the manifest says already; no change."
        return Decision(Reason.UNCHANGED, said, before)
    if before is not None:
        service_rows.check_version(before, intent.expected_version)
    if not split_is_kept and (refusal := await memory.refuse(s, arms, at_us)):
        raise Refusal(refusal.reason, refusal.sentence)
    if before is None:
        created = await services.create(
            s,
            name=intent.target,
            release=arms[0].release,
            record_text=asked.record_text,
            staging_of=asked.staging_of,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
        split_is_kept = len(arms) == 1
    elif not texts_are_kept:
        await services.set_record_text(
            s,
            service=before.name,
            on=asked.record_text,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
    if before is not None and not staging_is_kept:
        await services.set_staging_of(
            s,
            service=before.name,
            of=asked.staging_of,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
    if not split_is_kept:
        await services.set_split(
            s,
            service=intent.target,
            arms=arms,
            expected_version=created.version if before is None else intent.expected_version,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
    now = splits.words(splits.pairs(arms))
    was = "it is new" if before is None else f"before: {splits.words(splits.pairs(had))}"
    texts = "texts are recorded" if asked.record_text else "texts are not recorded"
    return Decision(Reason.APPLIED, f"{intent.target}: {now} ({was}); {texts}.", arms)


async def _arms(
    s: Session, intent: Intent, asked: verbs.manifests.Apply, at_us: int
) -> tuple[Arm, ...]:
    arms = []
    for arm in asked.arms:
        decision = await releases.create(s, intent, arm.release, at_us)
        if not isinstance(decision.plan, Release):
            raise Refusal(decision.reason, decision.sentence)
        arms.append(Arm(release=decision.plan.number, weight_bp=arm.weight_bp))
    services.check_arms(arms)
    return tuple(arms)
