"""Which alert opens, joins or reopens an incident, and when an incident is stable. Pure.

Only critical alerts that would be notified count: one that is silenced, as during a drill or
maintenance, opens nothing. On one box two alerts at a time are rarely two incidents, so an alert
joins the active one of its service, or that of the box, before it opens another. An incident that a
person opened is declared stable by a person. Imported by the controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from engine.control.decisions import Decision, Reason
from storage.alerts import Alert
from storage.incident_alerts import Joined
from storage.incidents import Incident, State

CONTROL: Final = "control"
QUIET_US: Final = 5 * 60 * 1_000_000
"""How long all alerts of an incident have to be over before it is stable."""


class Do(Enum):
    """What to do with an incident."""

    OPEN = auto()  # a new one, for an alert
    JOIN = auto()  # an alert joins it; a stable one is active again
    END = auto()  # one of its alerts is over
    SETTLE = auto()  # it is stable


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One act: about an alert, an incident, or both; `at_us` is when an alert ended.

    `service` is the one that a new incident is about, None for the whole box.
    """

    do: Do
    incident: Incident | None = None
    alert: Alert | None = None
    alert_id: int = 0
    service: str | None = None
    rule: str = ""
    at_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a decision rests on.

    `calling` are the critical alerts that fire, are not muted and have joined no incident yet.
    `alerts` are those of each open incident, `over` when those of them that ended did so.
    `services` are the names of the services that there are.
    """

    calling: Sequence[Alert]
    incidents: Sequence[Incident]
    alerts: Mapping[int, Sequence[Joined]]
    over: Mapping[int, int]
    services: frozenset[str] = frozenset()


def decide(found: Observed, now_us: int) -> Decision:
    """The next act; without one, when to look again."""
    for incident in found.incidents:
        for joined in found.alerts.get(incident.id, ()):
            if joined.ended_at_us is None and joined.alert_id in found.over:
                plan = Plan(
                    do=Do.END, incident=incident, alert_id=joined.alert_id, rule=joined.rule,
                    at_us=found.over[joined.alert_id],
                )  # fmt: skip
                return Decision(Reason.APPLIED, f"{joined.rule} is over.", plan)
    if found.calling:
        alert = found.calling[0]
        home = _home(alert, found)
        if home is None:
            about = _service(alert, found.services)
            plan = Plan(do=Do.OPEN, alert=alert, service=about)
            return Decision(Reason.APPLIED, f"{alert.rule} opens one.", plan)
        plan = Plan(do=Do.JOIN, incident=home, alert=alert)
        return Decision(Reason.APPLIED, f"{alert.rule} joins {home.name}.", plan)
    due: list[int] = []
    for incident in found.incidents:
        quiet = _quiet(incident, found.alerts.get(incident.id, ()))
        if quiet is None:
            continue
        if quiet + QUIET_US <= now_us:
            plan = Plan(do=Do.SETTLE, incident=incident, at_us=quiet)
            return Decision(Reason.APPLIED, f"{incident.name} is quiet.", plan)
        due.append(quiet + QUIET_US)
    return Decision(Reason.IDLE, "No alert calls.", due_us=min(due, default=None))


def _service(alert: Alert, known: frozenset[str]) -> str | None:
    """The service that an alert is about; None: the whole box."""
    name = alert.labels.get("service")
    return name if name in known else None


def _home(alert: Alert, found: Observed) -> Incident | None:
    """The incident that an alert joins; None: it opens one."""
    about = _service(alert, found.services)
    active = [each for each in found.incidents if each.state is State.ACTIVE]
    same = [each for each in active if each.service == about]
    wider = [each for each in active if about is None or each.service is None]
    calmed = [
        each for each in found.incidents
        if each.state is State.STABLE and each.service == about and each.opened_by == CONTROL
    ]  # fmt: skip
    return next(iter((*same[::-1], *wider[::-1], *calmed[::-1])), None)


def _quiet(incident: Incident, alerts: Sequence[Joined]) -> int | None:
    """Since when all alerts of an active incident are over; None while one fires."""
    if incident.state is not State.ACTIVE or incident.opened_by != CONTROL or not alerts:
        return None
    ended = [each.ended_at_us for each in alerts]
    if any(each is None for each in ended):
        return None
    return max(each for each in ended if each is not None)
