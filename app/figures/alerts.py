"""Alerts as they are shown: in the first row, in `paddock status`, in lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from app import words
from app.figures.facts import Facts
from app.snapshot import Trouble
from storage import alert_muting, silences
from storage.alert_events import AlertEvent
from storage.alert_muting import Muted
from storage.alert_rounds import Health, Outcome
from storage.alerts import Alert, Severity, State
from storage.notifications import Backlog
from storage.silences import Silence
from storage.store import Session

UNDELIVERED_US: Final = 600_000_000
UNEVALUATED_US: Final = 120_000_000
_DAY_US: Final = 86_400_000_000


def critical(facts: Facts) -> Iterator[Trouble]:
    """Critical alerts that are not silenced or acknowledged."""
    return _troubles(facts, Severity.CRITICAL)


def warnings(facts: Facts) -> Iterator[Trouble]:
    """Warnings that are not muted; info is not a trouble."""
    return _troubles(facts, Severity.WARNING)


def undelivered(facts: Facts) -> Iterator[Trouble]:
    """Receivers that have not accepted a notification for ten minutes."""
    for name, waits in sorted(facts.undelivered.items()) if facts.node.runs else ():
        age_us = facts.now_us - waits.oldest_us
        if age_us >= UNDELIVERED_US:
            why = f": {waits.error}" if waits.error else ""
            yield Trouble(
                brief=f"{name} unreachable",
                sentence=f"{words.counted(waits.waiting, 'notification')} for {name} not delivered "
                f"for {words.age(age_us)}{why}; `paddock alerts receivers list`.",
            )


def unevaluated(facts: Facts) -> Iterator[Trouble]:
    """Rules that are not evaluated: all of them, or those at fault."""
    if not facts.node.runs:
        return
    last = facts.alert_round
    if last is not None and facts.run is not None:
        begun_us = max(last.at_us, facts.run.started_at_us)
        if (old_us := facts.now_us - begun_us) >= UNEVALUATED_US:
            age = words.age(old_us)
            said = f"Alert rules have not been evaluated for {age}; control.log says why"
            yield Trouble(brief=f"alerts {age} old", sentence=f"{said}.")
    for rule, fault in facts.alert_faults.items():
        said = f"The alert rule {rule} cannot be evaluated: {fault.rstrip('.')}"
        yield Trouble(brief=f"rule {rule} faulty", sentence=f"{said}.")


def deleted(at_us: int, now_us: int, keep_days: int) -> str:
    """Which alerts of a past moment are not known any more; empty while all of them are."""
    if at_us < now_us - keep_days * _DAY_US:
        return f"Alerts and silences that ended more than {keep_days} days ago are deleted."
    if at_us < now_us - _DAY_US:
        return "Alerts that never fired are deleted a day after their end."
    return ""


def _troubles(facts: Facts, severity: Severity) -> Iterator[Trouble]:
    if not facts.node.runs:
        return
    muted = alert_muting.muted(facts.alerts, facts.silences, facts.now_us)
    for alert in facts.alerts:
        fires = alert.state is State.FIRING and alert.severity is severity
        if fires and alert.id not in muted:
            yield Trouble(brief=brief(alert), sentence=sentence(alert, facts.now_us))


def brief(alert: Alert) -> str:
    """A few words: latency-p95 support."""
    return f"{alert.rule} {alert.subject}".strip()


def sentence(alert: Alert, now_us: int) -> str:
    """What is wrong, since when, and what to do next."""
    since = words.age(max(now_us - (alert.fired_at_us or alert.began_at_us), 0))
    lost = ", no data now" if alert.no_data_since_us is not None else ""
    runbook = f"; runbook {alert.runbook}" if alert.runbook else ""
    return f"{alert.summary.rstrip('.')} (alert {alert.id} for {since}{lost}{runbook})."


def status(alert: Alert, muted: Muted | None = None) -> str:
    """Its state, whether it is muted, and whether it is measured."""
    if alert.state is State.INACTIVE:
        return f"ended, {alert.why.value}"
    parts = [alert.state.value]
    if muted is not None:
        parts.append(muted.words)
    if alert.no_data_since_us is not None:
        parts.append("no data")
    elif alert.unmet_clock_us is not None:
        parts.append("ending")
    return ", ".join(parts)


def since(alert: Alert) -> int:
    """When it fired, else when it began (UTC microseconds)."""
    return alert.fired_at_us or alert.began_at_us


def value(alert: Alert) -> str:
    """The last value that was measured."""
    return words.UNKNOWN if alert.value is None else f"{alert.value:.4g}"


async def silenced(s: Session, alert: Alert, now_us: int) -> list[Silence]:
    """The silences and maintenance windows that an alert was in while it fired."""
    if alert.fired_at_us is None:
        return []
    until_us = alert.ended_at_us or now_us
    found = await silences.during(s, alert.fired_at_us, until_us)
    return [each for each in found if each.fits(alert.labels)]


def lines(
    alert: Alert,
    muted: Muted | None,
    events: Sequence[AlertEvent],
    incident: int | None = None,
    quiet: Sequence[Silence] = (),
) -> list[tuple[str, str]]:
    """What is known of one: what it says, its incident, its moves, who acknowledged it.

    `incident` is the number of the one that it joined, `quiet` what silenced it while it fired.
    """
    labels = " ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
    found = [
        ("alert", f"{alert.id}, {alert.severity.value}"),
        ("rule", f"{alert.rule}, version {alert.rule_version}"),
        ("summary", alert.summary),
        ("state", status(alert, muted)),
        ("value", value(alert)),
        ("labels", labels),
        ("runbook", words.known(alert.runbook)),
        ("incident", words.UNKNOWN if incident is None else f"INC-{incident}"),
        *[(f"{each.noun} {each.id}", _span(each)) for each in quiet],
        *[
            (words.clock(event.at_us), f"{event.after.value}: {event.why.value}{_by(event)}")
            for event in events
        ],
    ]
    if alert.acknowledged_by is not None:
        why = f": {alert.acknowledged_reason}" if alert.acknowledged_reason else ""
        at = words.clock(alert.acknowledged_at_us)
        found.append((at, f"acknowledged by {alert.acknowledged_by}{why}"))
    return found


def _span(silence: Silence) -> str:
    """From when to when, by whom and why."""
    until = min(silence.ended_at_us or silence.ends_at_us, silence.ends_at_us)
    why = f": {silence.comment}" if silence.comment else ""
    span = f"{words.clock(silence.starts_at_us)} to {words.clock(until)}"
    return f"{span} by {silence.created_by}{why}"


def _by(event: AlertEvent) -> str:
    return "" if event.intent_id is None else f" ({event.actor})"


def fared(health: Health | None) -> str:
    """How a rule fared when it was last evaluated."""
    if health is None:
        return words.UNKNOWN
    return {Outcome.MEASURED: "ok"}.get(health.outcome, health.outcome.value)


def delivery(waits: Backlog | None, now_us: int) -> str:
    """Whether a receiver accepts notifications."""
    if waits is None:
        return "ok"
    age = words.age(max(now_us - waits.oldest_us, 0))
    why = f": {waits.error}" if waits.error else ""
    return f"{waits.waiting} undelivered for {age}{why}"
