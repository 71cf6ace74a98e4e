"""What people ask of alerts and their rules. Imported by `engine.control.handlers`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from engine.control.alerts import notify
from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import (
    alert_groups,
    alert_rule_versions,
    alerts,
    errors,
    notifications,
    receivers,
    silences,
)
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session

_SECOND_US: Final = 1_000_000
_LATE_US: Final = 60_000_000  # an intent may wait for control
_NUMBER: Final = re.compile("[0-9]{1,18}")


@handles("alerts.ack")
async def ack(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Acknowledge; no notifications are sent until it ends."""
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
    said = f"Alert {before.id}, {before.rule}, is no longer acknowledged."
    return Decision(Reason.APPLIED, said, before)


@handles("alerts.close")
async def close(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """End an alert without data."""
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
    """Stop evaluating a rule; its alerts end."""
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


@handles("alerts.silence")
async def silence(
    s: Session, intent: Intent, arguments: verbs.alerts.Silence, at_us: int
) -> Decision:
    """Silence alerts until an end."""
    starts = at_us + arguments.starts_in_s * _SECOND_US
    added = await silences.add(
        s, matchers=arguments.matchers, starts_at_us=starts,
        ends_at_us=starts + arguments.for_s * _SECOND_US, comment=intent.reason,
        actor=intent.actor, at_us=at_us, intent_id=intent.id,
    )  # fmt: skip
    until = _clock(added.ends_at_us)
    said = f"Silence {added.id} of {added.words} until {until} UTC{await _now(s, added)}."
    return Decision(Reason.APPLIED, said, added)


@handles("alerts.maintain")
async def maintain(
    s: Session, intent: Intent, arguments: verbs.alerts.Maintain, at_us: int
) -> Decision:
    """Plan a maintenance window, or begin one now."""
    starts = at_us if arguments.starts_at_us is None else arguments.starts_at_us
    if starts < at_us - _LATE_US:
        raise errors.Invalid("A maintenance window cannot begin in the past.")
    added = await silences.add(
        s, matchers=arguments.matchers, starts_at_us=starts,
        ends_at_us=starts + arguments.for_s * _SECOND_US, comment=intent.reason,
        actor=intent.actor, at_us=at_us, intent_id=intent.id, maintenance=silences.PLANNED,
    )  # fmt: skip
    when = f"{_clock(added.starts_at_us)} to {_clock(added.ends_at_us)} UTC"
    now = await _now(s, added) if added.holds(at_us) else ""
    said = f"Maintenance window {added.id} of {added.words} from {when}{now}."
    return Decision(Reason.APPLIED, said, added)


async def _now(s: Session, added: silences.Silence) -> str:
    """Which alerts a silence is about now."""
    fits = [alert.rule for alert in await alerts.active(s) if added.fits(alert.labels)]
    return f"; now {', '.join(dict.fromkeys(fits))}" if fits else "; matches no current alert"


def _clock(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / _SECOND_US, UTC):%Y-%m-%d %H:%M}"


@handles("alerts.unsilence")
async def unsilence(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """End a silence or a maintenance window."""
    ended = await silences.end(
        s, _number(intent, "a silence"), actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    return Decision(Reason.APPLIED, f"Ended {ended.noun} {ended.id} of {ended.words}.", ended)


@handles("alerts.add_receiver")
async def add_receiver(
    s: Session, intent: Intent, arguments: verbs.alerts.AddReceiver, at_us: int
) -> Decision:
    """Notify a receiver from now on."""
    added = await receivers.add(
        s, name=intent.target, kind=arguments.kind, shown=arguments.shown,
        secret=arguments.secret, signing=arguments.signing, matchers=arguments.matchers,
        group_by=arguments.group_by, group_wait_s=arguments.group_wait_s,
        group_interval_s=arguments.group_interval_s,
        repeat_interval_s=arguments.repeat_interval_s, send_resolved=arguments.send_resolved,
        actor=intent.actor, at_us=at_us, intent_id=intent.id,
    )  # fmt: skip
    which = " ".join(added.matchers) or "all alerts"
    said = f"Added receiver {added.name} ({added.shown}) of {which}."
    return Decision(Reason.APPLIED, said, added)


@handles("alerts.remove_receiver")
async def remove_receiver(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Stop notifying a receiver; its waiting notifications are dropped."""
    removed = await receivers.remove(
        s, intent.target, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    await alert_groups.forget(s, removed.name)
    lost = await notifications.give_up(s, removed.name, "the receiver was removed", at_us=at_us)
    more = f"; {lost} undelivered notifications are dropped" if lost else ""
    said = f"Removed receiver {removed.name} ({removed.shown}){more}."
    return Decision(Reason.APPLIED, said, removed)


@handles("alerts.test_receiver")
async def try_receiver(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """Queue a test for a receiver."""
    receiver = await receivers.find(s, intent.target)
    number = await notify.test(s, receiver.name, at_us=at_us)
    said = (
        f"Queued notification {number} for {receiver.name}; `paddock alerts notifications` "
        "shows its delivery."
    )
    return Decision(Reason.APPLIED, said, number)


def _number(intent: Intent, noun: str = "an alert") -> int:
    if _NUMBER.fullmatch(intent.target) is None:
        raise errors.Invalid(f"{intent.target!r} is not the number of {noun}.")
    return int(intent.target)
