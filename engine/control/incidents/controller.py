"""The controller of incidents: critical alerts open and join them, and their end makes them stable.

Imported by `engine.control`.
"""

from __future__ import annotations

import structlog

from engine.control.decisions import Decision
from engine.control.incidents import decide as deciding
from engine.control.incidents.decide import CONTROL, Do, Observed, Plan
from storage import alert_muting, alerts, incident_alerts, incidents, services, silences
from storage.alert_muting import Mute
from storage.alerts import Severity as Urgency
from storage.incidents import Kind, Severity, State
from storage.store import Session

_log = structlog.get_logger("control.incidents")


class Incidents:
    """Opens, joins and settles incidents; everything else is done by people."""

    name = "incidents"

    async def recover(self, s: Session, now_us: int) -> None:
        """Nothing to repair: each act is one transaction."""

    async def observe(self, s: Session, now_us: int) -> Observed:
        """The critical alerts that fire, the open incidents, and the alerts of those."""
        active = await alerts.active(s)
        critical = [
            alert
            for alert in active
            if alert.state is alerts.State.FIRING and alert.severity is Urgency.CRITICAL
        ]
        lasting = await silences.lasting(s, now_us) if critical else []
        muted = alert_muting.muted(active, lasting, now_us)
        calling = [
            alert
            for alert in critical
            if alert.id not in muted or muted[alert.id].mute is Mute.ACKNOWLEDGED
        ]
        known = await incident_alerts.joined(s, [alert.id for alert in calling])
        opened = await incidents.open_ones(s)
        of = {each.id: await incident_alerts.of(s, each.id) for each in opened}
        fires = {alert.id for alert in active}
        ceased = [
            each.alert_id
            for joined in of.values()
            for each in joined
            if each.ended_at_us is None and each.alert_id not in fires
        ]
        ended = await alerts.of_ids(s, ceased)
        return Observed(
            calling=[alert for alert in calling if alert.id not in known],
            incidents=opened,
            alerts=of,
            over={
                each: (ended[each].ended_at_us or now_us) if each in ended else now_us
                for each in ceased
            },
            services=frozenset(each.name for each in await services.every(s))
            if calling
            else frozenset(),
        )

    def decide(self, observed: Observed, now_us: int) -> Decision:
        """The next act, decided purely by `decide`."""
        return deciding.decide(observed, now_us)

    async def act(self, s: Session, decision: Decision, now_us: int) -> None:
        """Carry out the plan, with its event."""
        plan = decision.plan
        assert isinstance(plan, Plan)  # noqa: S101 as it was decided
        match plan.do:
            case Do.OPEN:
                await self._open(s, plan, now_us)
            case Do.JOIN:
                await self._join(s, plan, now_us)
            case Do.END:
                await self._end(s, plan, now_us)
            case Do.SETTLE:
                assert plan.incident is not None  # noqa: S101 as it was decided
                await incidents.move(
                    s, plan.incident, State.STABLE, "all of its alerts are over", actor=CONTROL,
                    at_us=now_us, effective_at_us=max(plan.at_us, plan.incident.began_at_us),
                )  # fmt: skip
        _log.info("acted", act=plan.do.name, sentence=decision.sentence)

    async def _open(self, s: Session, plan: Plan, now_us: int) -> None:
        alert = plan.alert
        assert alert is not None  # noqa: S101 as it was decided
        opened = await incidents.open_up(
            s,
            title=alert.summary[:200],
            service=plan.service,
            severity=Severity.SEV2,
            actor=CONTROL,
            at_us=now_us,
            began_at_us=min(alert.began_at_us, now_us),
            sentence=f"by the alert {alert.rule}: {alert.summary}",
        )
        await incident_alerts.join(s, opened.id, alert_id=alert.id, rule=alert.rule, at_us=now_us)

    async def _join(self, s: Session, plan: Plan, now_us: int) -> None:
        alert, incident = plan.alert, plan.incident
        assert alert is not None  # noqa: S101 as it was decided
        assert incident is not None  # noqa: S101 as it was decided
        if incident.state is State.STABLE:
            said = f"{alert.rule} fires again"
            incident = await incidents.move(
                s, incident, State.ACTIVE, said, actor=CONTROL, at_us=now_us
            )
        await incident_alerts.join(s, incident.id, alert_id=alert.id, rule=alert.rule, at_us=now_us)
        await incidents.note(
            s, incident, f"{alert.rule} joined: {alert.summary}", actor=CONTROL, at_us=now_us,
            happened_at_us=min(alert.fired_at_us or now_us, now_us), kind=Kind.ALERT,
        )  # fmt: skip

    async def _end(self, s: Session, plan: Plan, now_us: int) -> None:
        assert plan.incident is not None  # noqa: S101 as it was decided
        await incident_alerts.end(s, plan.alert_id, plan.at_us)
        await incidents.note(
            s, plan.incident, f"{plan.rule} is over", actor=CONTROL, at_us=now_us,
            happened_at_us=max(min(plan.at_us, now_us), plan.incident.began_at_us),
            kind=Kind.ALERT,
        )  # fmt: skip
