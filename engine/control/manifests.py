"""Applies the manifest of a service: its releases, its split, its settings.

It is one transaction: a refused arm leaves no release behind. With a rollout policy a new release
gets its traffic by a rollout; applying the manifest again while that is under way, or after it was
undone, does not start another. Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.control import loadable, memory, releases
from engine.control.decisions import Decision, Reason, Refusal
from engine.control.handlers import handles
from engine.control.rollouts import starting
from storage import manifests, rollout_policies, service_rows, services, splits
from storage.control_socket import verbs
from storage.intents import Intent
from storage.manifests import Settings
from storage.releases import Release
from storage.rollout_policies import Policy
from storage.rollout_steps import OnLabel
from storage.rollouts import Rollout
from storage.services import Arm, Service
from storage.store import Session


@handles("manifests.apply")
async def apply(s: Session, intent: Intent, asked: verbs.manifests.Apply, at_us: int) -> Decision:
    """Make the service what the manifest says; writes only what differs.

    Raises:
        Refusal: a release cannot be created, cannot answer, does not fit into memory, or was taken
            back by a rollout.
        errors.Moved, errors.Frozen, errors.NotOwner: the split cannot be changed now.
    """
    before = await services.look_up(s, intent.target)
    arms = await _arms(s, intent, asked, at_us)
    led = await _led(s, before, arms, asked)
    if before is None:
        return await _create(s, intent, asked, arms, at_us)
    had = before.split.arms
    split_is_kept = led is not None or {*arms} == {arm for arm in had if arm.weight_bp}
    if not split_is_kept:
        _answering(arms, await loadable.broken(s, arms), had)
    settings_are_kept = Settings.of(before) == Settings.asked(asked, before)
    if split_is_kept and settings_are_kept:
        said = f"{intent.target} is what the manifest says already; no change."
        if led is not None:
            said = f"{_leads(led)}; no change."
        return Decision(Reason.UNCHANGED, said, before)
    service_rows.check_version(before, intent.expected_version)
    if not settings_are_kept:
        await _set(s, before, intent, asked, at_us)
    if led is not None:
        return Decision(Reason.APPLIED, f"{_leads(led)}; {_texts(asked)}.", before)
    if not split_is_kept and asked.rollout is not None:
        said = await _lead(s, intent, arms[0].release, asked.rollout, at_us)
        return Decision(Reason.APPLIED, f"{said}; {_texts(asked)}.", arms)
    if not split_is_kept:
        await _split(s, intent, arms, intent.expected_version, at_us)
    return _applied(intent.target, arms, asked, f"before: {splits.words(splits.pairs(had))}")


async def _create(
    s: Session, intent: Intent, asked: verbs.manifests.Apply, arms: tuple[Arm, ...], at_us: int
) -> Decision:
    """Create the service, without a rollout: there is nothing to compare with."""
    _answering(arms, await loadable.broken(s, arms), ())
    if refusal := await memory.refuse(s, arms, at_us):
        raise Refusal(refusal.reason, refusal.sentence)
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
    if asked.rollout is not None:
        await _set_policy(s, intent, asked.rollout, at_us)
    if asked.on_label is not None and asked.on_label is not created.on_label:
        await _set_labels(s, intent, asked.on_label, at_us)
    if len(arms) > 1:
        await _split(s, intent, arms, created.version, at_us)
    return _applied(intent.target, arms, asked, "it is new")


async def _led(
    s: Session, service: Service | None, arms: Sequence[Arm], asked: verbs.manifests.Apply
) -> Rollout | None:
    """The rollout that already leads the service to its release, if one does.

    Raises:
        Refusal: one did, and was taken back; only a person starts it again.
    """
    if service is None or asked.rollout is None:
        return None
    before = await manifests.before(s, service, arms[0].release)
    if before is None or before.leads:
        return None if before is None else before.rollout
    raise Refusal(Reason.MOVED, before.words)


async def _lead(s: Session, intent: Intent, release: int, policy: Policy, at_us: int) -> str:
    """Start the rollout to a release, as a person would; what was started."""
    fields, by_policy = rollout_policies.resolved(policy, {})
    start = verbs.rollouts.Start(release=f"r{release}", by_policy=by_policy, **fields)
    done = await starting.start(s, intent, start, at_us)
    if done.plan is None:
        raise Refusal(done.reason, done.sentence)
    return done.sentence.rstrip(".")


async def _split(
    s: Session, intent: Intent, arms: tuple[Arm, ...], expected_version: int | None, at_us: int
) -> None:
    if refusal := await memory.refuse(s, arms, at_us):
        raise Refusal(refusal.reason, refusal.sentence)
    await services.set_split(
        s,
        service=intent.target,
        arms=arms,
        expected_version=expected_version,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )


async def _set(
    s: Session, before: Service, intent: Intent, asked: verbs.manifests.Apply, at_us: int
) -> None:
    """Change the settings that differ."""
    if before.record_text != asked.record_text:
        await services.set_record_text(
            s,
            service=before.name,
            on=asked.record_text,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
    if before.staging_of != asked.staging_of:
        await services.set_staging_of(
            s,
            service=before.name,
            of=asked.staging_of,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
    if before.rollout_policy != asked.rollout:
        await _set_policy(s, intent, asked.rollout, at_us)
    if asked.on_label is not None and asked.on_label is not before.on_label:
        await _set_labels(s, intent, asked.on_label, at_us)


async def _set_labels(s: Session, intent: Intent, to: OnLabel, at_us: int) -> None:
    await services.set_on_label(
        s, service=intent.target, to=to, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )


async def _set_policy(s: Session, intent: Intent, policy: Policy | None, at_us: int) -> None:
    await services.set_rollout_policy(
        s,
        service=intent.target,
        to=policy,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )


def _answering(arms: Sequence[Arm], broken: dict[int, str], had: Sequence[Arm]) -> None:
    if refusal := loadable.refuse(arms, broken, had):
        raise Refusal(refusal.reason, refusal.sentence)


def _applied(name: str, arms: Sequence[Arm], asked: verbs.manifests.Apply, was: str) -> Decision:
    now = splits.words(splits.pairs(arms))
    return Decision(Reason.APPLIED, f"{name}: {now} ({was}); {_texts(asked)}.", arms)


def _texts(asked: verbs.manifests.Apply) -> str:
    return "texts are recorded" if asked.record_text else "texts are not recorded"


def _leads(rollout: Rollout) -> str:
    name = f"Rollout {rollout.id} of {rollout.service}"
    return f"{name} leads to r{rollout.candidate} already: {rollout.sentence.rstrip('.')}"


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
