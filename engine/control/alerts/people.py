"""What people ask of alerts and their rules. Imported by `engine.control.handlers`."""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import alert_rule_versions, alerts, errors
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session


@handles("alerts.ack")
async def ack(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Acknowledge; it is told of no more until it ends."""
    before = await alerts.acknowledge(
        s, _number(intent), reason=intent.reason, actor=intent.actor, at_us=at_us,
        intent_id=intent.id,
    )  # fmt: skip
    if before.acknowledged_by is not None:
        said = f"Alert {before.id} was acknowledged by {before.acknowledged_by}; it is yours now."
        return Decision(Reason.APPLIED, said, before)
    said = f"Acknowledged alert {before.id}, {before.rule}: no more notifications until it ends."
    return Decision(Reason.APPLIED, said, before)


@handles("alerts.unack")
async def unack(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Take an acknowledgement back."""
    before = await alerts.unacknowledge(
        s, _number(intent), actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    said = f"Alert {before.id}, {before.rule}, is not acknowledged any more."
    return Decision(Reason.APPLIED, said, before)


@handles("alerts.close")
async def close(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """End an alert of which nothing is measured."""
    alert = await alerts.find(s, _number(intent))
    if alert.state is alerts.State.FIRING and alert.no_data_since_us is None:
        said = f"Alert {alert.id} is measured and holds; silence it, or change its rule."
        return Decision(Reason.INVALID, said)
    await alerts.close(s, alert.id, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    return Decision(Reason.APPLIED, f"Closed alert {alert.id}, {alert.rule}.", alert)


@handles("alerts.set_rules")
async def set_rules(
    s: Session, intent: Intent, arguments: verbs.alerts.SetRules, at_us: int
) -> Decision:
    """Put rules in force."""
    changed = []
    for rule in arguments.rules:
        added = await alert_rule_versions.set(
            s, rule, actor=intent.actor, at_us=at_us, intent_id=intent.id
        )
        if added is not None:
            changed.append(f"{added.name} is version {added.version}")
    kept = {rule.name for rule in arguments.rules}
    for name in (await alert_rule_versions.in_force(s)) if arguments.only else ():
        if name not in kept:
            await alert_rule_versions.remove(
                s, name, actor=intent.actor, at_us=at_us, intent_id=intent.id
            )
            changed.append(f"{name} is removed")
    if not changed:
        return Decision(Reason.UNCHANGED, "These rules are in force already; no change.", intent)
    return Decision(Reason.APPLIED, f"Alert rules: {', '.join(changed)}.", changed)


@handles("alerts.remove_rule")
async def remove_rule(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Evaluate a rule no more; its alerts end."""
    removed = await alert_rule_versions.remove(
        s, intent.target, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    if removed is None:
        said = f"The alert rule {intent.target} is removed already; no change."
        return Decision(Reason.UNCHANGED, said, intent)
    return Decision(Reason.APPLIED, f"Removed the alert rule {removed.name}.", removed)


@handles("alerts.reset_rule")
async def reset_rule(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Put the shipped rule in force again."""
    added = await alert_rule_versions.reset(
        s, intent.target, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    if added is None:
        said = f"{intent.target} is as shipped; no change."
        return Decision(Reason.UNCHANGED, said, intent)
    return Decision(Reason.APPLIED, f"{added.name} is as shipped again.", added)


def _number(intent: Intent) -> int:
    if not intent.target.isdecimal() or len(intent.target) > 18:  # noqa: PLR2004 as the store keeps
        raise errors.Invalid(f"{intent.target!r} is not the number of an alert.")
    return int(intent.target)
