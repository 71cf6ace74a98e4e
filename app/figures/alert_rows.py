"""The rows of the place of alerts: alerts, silences, maintenance windows, receivers, rules.

Imported by `app.figures.reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app import words
from app.figures import alerts as figures
from app.figures.facts import Facts
from app.snapshot.alerts import AlertRow, Alerts, Of, Tone
from storage import (
    alert_events,
    alert_muting,
    alert_rounds,
    alert_rule_files,
    alert_rule_versions,
    alerts,
    incident_alerts,
    notifications,
    receivers,
    silences,
)
from storage.alert_muting import Mute, Muted
from storage.alert_rounds import Health, Outcome
from storage.alert_rule_versions import Versioned
from storage.alerts import Alert, Severity, State
from storage.notifications import Backlog
from storage.past import alerts as past_alerts
from storage.receivers import Receiver
from storage.silences import Silence
from storage.store import Session

_ENDED: Final = 5
_DAY_US: Final = 86_400_000_000
_KNOWN: Final = 2  # of an alert: its number and its rule, which its row has
_BRIEF: Final = {
    Mute.SILENCED: "silenced", Mute.INHIBITED: "inhibited",
    Mute.ACKNOWLEDGED: "acked",
}  # fmt: skip

Entry = tuple[AlertRow, Alert | Silence | Receiver | Versioned]


async def read(s: Session, chosen: str, facts: Facts) -> Alerts:
    """All rows, and what is known of the one with this key; of the first where there is none."""
    now_us = facts.now_us
    active = await alerts.active(s)
    lasting = await silences.lasting(s, now_us)
    muted = alert_muting.muted(active, lasting, now_us)
    told = await receivers.every(s)
    waiting = await notifications.backlog(s)
    rules = await alert_rule_versions.in_force(s)
    health = await alert_rounds.health(s)
    ended = await alerts.ended(s, limit=_ENDED)
    joined = await incident_alerts.joined(s, [each.id for each in (*active, *ended)])
    entries: list[Entry] = [
        *((_alert(each, muted.get(each.id), joined), each) for each in active),
        *((_silence(each, now_us), each) for each in lasting),
        *((_receiver(each, waiting.get(each.name)), each) for each in told),
        *((_rule(each, health.get(name)), each) for name, each in rules.items()),
        *((_alert(each, None, joined), each) for each in ended),
    ]
    found = next((each for each in entries if each[0].key == chosen), next(iter(entries), None))
    lines: list[tuple[str, str]] = []
    match found:
        case _, Alert() as alert:
            moves = await alert_events.of(s, alert.id)
            quiet = await figures.silenced(s, alert, now_us)
            incident = joined.get(alert.id)
            lines = figures.lines(alert, muted.get(alert.id), moves, incident, quiet)[_KNOWN:]
        case _, Silence() as silence:
            lines = _of_silence(silence)
        case _, Receiver() as receiver:
            lines = _of_receiver(receiver, waiting.get(receiver.name), now_us)
        case _, Versioned() as version:
            lines = _of_rule(version, health.get(version.name))
    return Alerts(
        rows=tuple(row for row, _ in entries),
        shown="" if found is None else found[0].key,
        lines=tuple((name, words.safe(value)) for name, value in lines),
        firing=sum(each.state is State.FIRING for each in active),
    )


async def read_at(s: Session, chosen: str, at_us: int) -> Alerts:
    """The alerts and silences of a past moment; the health of rules and receivers is not kept."""
    active = await past_alerts.active(s, at_us)
    lasting = await past_alerts.silenced(s, at_us)
    muted = alert_muting.muted(active, lasting, at_us)
    rows = (
        *(_alert(each, muted.get(each.id), {}) for each in active),
        *(_silence(each, at_us) for each in lasting),
    )
    shown = next((row for row in rows if row.key == chosen), next(iter(rows), None))
    lines: list[tuple[str, str]] = []
    for alert in active:
        if shown is not None and shown.of is Of.ALERT and shown.name == str(alert.id):
            moves = [each for each in await alert_events.of(s, alert.id) if each.at_us <= at_us]
            lines = figures.lines(alert, muted.get(alert.id), moves)[_KNOWN:]
    for silence in lasting:
        if shown is not None and shown.of is Of.SILENCE and shown.name == str(silence.id):
            lines = _of_silence(silence)
    return Alerts(
        rows=rows,
        shown="" if shown is None else shown.key,
        lines=tuple((name, words.safe(value)) for name, value in lines),
        firing=sum(each.state is State.FIRING for each in active),
    )


def _alert(alert: Alert, muted: Muted | None, joined: Mapping[int, int]) -> AlertRow:
    fires = alert.state is State.FIRING
    silenced = muted is not None and muted.mute in {Mute.SILENCED, Mute.MAINTENANCE}
    by = "" if muted is None else muted.by.rpartition(" ")[2]
    labels = {**alert.about, "alertname": alert.labels.get("alertname", alert.rule)}
    return AlertRow(
        of=Of.ALERT,
        name=str(alert.id),
        title=alert.rule,
        about=alert.subject,
        state=figures.status(alert) if muted is None else _quiet(muted.mute, by),
        tone=_tone(alert, muted),
        severity=alert.severity.value,
        at_us=figures.since(alert) if alert.ended_at_us is None else alert.ended_at_us,
        fires=fires,
        acknowledged_by=alert.acknowledged_by or "" if fires else "",
        matchers=tuple(f"{name}={value}" for name, value in sorted(labels.items())),
        silence=by if silenced else "",
        incident=joined.get(alert.id, 0),
        runbook=alert.runbook or "",
    )


def _tone(alert: Alert, muted: Muted | None) -> Tone:
    if alert.state is not State.FIRING or muted is not None:
        return Tone.PLAIN if alert.state is State.PENDING else Tone.QUIET
    return {Severity.CRITICAL: Tone.BAD, Severity.WARNING: Tone.WARN}.get(
        alert.severity, Tone.PLAIN
    )


def _quiet(mute: Mute, by: str) -> str:
    """Silenced by 3, in window 4."""
    return f"in window {by}" if mute is Mute.MAINTENANCE else f"{_BRIEF[mute]} by {by}"


def _silence(silence: Silence, now_us: int) -> AlertRow:
    day, time = words.clock(silence.starts_at_us)[5:16].split()
    begins = time if silence.starts_at_us - now_us < _DAY_US else day
    return AlertRow(
        of=Of.SILENCE if silence.maintenance is None else Of.WINDOW,
        name=str(silence.id),
        title=silence.words,
        about=silence.created_by,
        state="in force" if silence.holds(now_us) else f"from {begins}",
        at_us=silence.ends_at_us,
        silence=str(silence.id),
    )


def _receiver(receiver: Receiver, waits: Backlog | None) -> AlertRow:
    return AlertRow(
        of=Of.RECEIVER,
        name=receiver.name,
        title=receiver.name,
        about=receiver.shown,
        state="ok" if waits is None else f"{waits.waiting} undelivered",
        tone=Tone.PLAIN if waits is None else Tone.WARN,
        at_us=None if waits is None else waits.oldest_us,
    )


def _rule(version: Versioned, health: Health | None) -> AlertRow:
    faulty = health is not None and health.outcome is Outcome.ERROR
    return AlertRow(
        of=Of.RULE,
        name=version.name,
        title=version.name,
        about=f"version {version.version}" if version.version else "shipped",
        state=figures.fared(health),
        tone=Tone.WARN if faulty else Tone.QUIET,
        severity="" if version.rule is None else version.rule.severity.value,
        at_us=None if health is None else health.since_us,
        matchers=(f"alertname={version.name}",),
        runbook="" if version.rule is None else version.rule.runbook or "",
    )


def _of_silence(silence: Silence) -> list[tuple[str, str]]:
    return [
        ("of", silence.words),
        ("from", words.clock(silence.starts_at_us)),
        ("until", words.clock(silence.ends_at_us)),
        ("by", silence.created_by),
        ("reason", words.known(silence.comment)),
    ]


def _of_receiver(receiver: Receiver, waits: Backlog | None, now_us: int) -> list[tuple[str, str]]:
    return [
        ("address", f"{receiver.kind.value} {receiver.shown}"),
        ("alerts", " ".join(receiver.matchers) or "all"),
        ("repeat", alert_rule_files.written(receiver.repeat_interval_s)),
        ("delivery", figures.delivery(waits, now_us)),
    ]


def _of_rule(version: Versioned, health: Health | None) -> list[tuple[str, str]]:
    rule = version.rule
    if rule is None:
        return []
    found = [
        ("expression", " ".join(rule.expression.split())),
        ("for", alert_rule_files.written(rule.for_s)),
        ("runbook", words.known(rule.runbook)),
    ]
    if health is not None and health.sentence:
        found.append(("health", health.sentence))
    return found
