"""When alerts open, join and settle incidents: by examples, and as a state machine."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.control.incidents.decide import CONTROL, QUIET_US, Do, Observed, Plan, decide
from storage import alerts
from storage.alerts import Alert
from storage.incident_alerts import Joined
from storage.incidents import Incident, Severity, State

SERVICES = frozenset({"support", "tips"})


def alert(id: int, service: str | None = "support", at_us: int = 100) -> Alert:
    """A critical alert that fires."""
    labels = {"alertname": "HighErrorRate"} | ({} if service is None else {"service": service})
    return Alert(
        id=id, rule="HighErrorRate", rule_version=1, fingerprint=str(id), labels=labels,
        severity=alerts.Severity.CRITICAL, summary="errors", runbook=None,
        state=alerts.State.FIRING, why=alerts.Why.HELD, value=1.0, began_at_us=at_us,
        began_clock_us=at_us, fired_at_us=at_us, unmet_clock_us=None, no_data_since_us=None,
        ended_at_us=None, acknowledged_at_us=None, acknowledged_by=None, acknowledged_reason=None,
    )  # fmt: skip


def incident(
    id: int, service: str | None = "support", state: State = State.ACTIVE, by: str = CONTROL
) -> Incident:
    """An incident."""
    return Incident(
        id=id, title="errors", service=service, severity=Severity.SEV2, state=state, roles={},
        version=1, began_at_us=1, opened_at_us=1, opened_by=by, moved_at_us=1,
    )  # fmt: skip


def seen(calling: list[Alert], *known: Incident) -> Observed:
    """These alerts, and these incidents without alerts."""
    return Observed(calling=calling, incidents=list(known), alerts={}, over={}, services=SERVICES)


def plan(found: Observed, now_us: int = 1_000) -> Plan | None:
    """What is decided."""
    decided = decide(found, now_us).plan
    assert decided is None or isinstance(decided, Plan)
    return decided


def joins(found: Observed) -> str:
    """The incident that the first alert joins, or that it opens one."""
    made = plan(found)
    assert made is not None
    return "opens" if made.incident is None else made.incident.name


def test_an_alert_opens_an_incident_where_there_is_none() -> None:
    """And where the active one is of another service."""
    assert joins(seen([alert(1)])) == "opens"
    assert joins(seen([alert(1)], incident(1, "tips"))) == "opens"
    assert joins(seen([alert(1, "gone")], incident(1, "tips"))) == "INC-1"  # no such service


def test_an_alert_joins_the_active_incident_of_its_service_or_of_the_box() -> None:
    """The narrower first; an alert about the box joins any."""
    assert joins(seen([alert(1)], incident(1), incident(2, None))) == "INC-1"
    assert joins(seen([alert(1)], incident(1, None))) == "INC-1"
    assert joins(seen([alert(1, None)], incident(1, "tips"))) == "INC-1"


def test_an_alert_that_fires_again_wakes_its_stable_incident() -> None:
    """Not one that a person opened, and not one that is closed."""
    assert joins(seen([alert(1)], incident(1, state=State.STABLE))) == "INC-1"
    assert joins(seen([alert(1)], incident(1, state=State.STABLE, by="kim"))) == "opens"


def test_what_a_person_opened_a_person_declares_stable() -> None:
    """However long its alerts are over."""
    over = Joined(alert_id=1, incident_id=1, rule="r", joined_at_us=1, ended_at_us=2)
    ours = seen([], incident(1))
    ours = replace(ours, alerts={1: [over]})
    late = 2 + QUIET_US
    made = plan(ours, late)
    assert made is not None
    assert (made.do, made.at_us) == (Do.SETTLE, 2)
    assert plan(ours, late - 1) is None
    assert decide(ours, late - 1).due_us == late
    theirs = seen([], incident(1, by="kim"))
    assert plan(replace(theirs, alerts={1: [over]}), late) is None


class Box(RuleBasedStateMachine):
    """Alerts come and go, people move incidents, control decides until there is nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 1_000
        self.firing: dict[int, Alert] = {}
        self.over: dict[int, int] = {}
        self.incidents: dict[int, Incident] = {}
        self.joined: dict[int, Joined] = {}
        self.touched = False  # by a person

    @rule(service=st.sampled_from(["support", "tips", None, "unknown"]))
    def fire(self, service: str | None) -> None:
        """Another alert fires."""
        id = len(self.firing) + len(self.over) + 1
        self.firing[id] = alert(id, service, self.now_us)

    @precondition(lambda self: self.firing)
    @rule(data=st.data())
    def cease(self, data: st.DataObject) -> None:
        """One of them is over."""
        id = data.draw(st.sampled_from(sorted(self.firing)))
        del self.firing[id]
        self.over[id] = self.now_us

    @rule(seconds=st.sampled_from([1, 100, 300, 1_000]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now_us += seconds * 1_000_000

    @precondition(lambda self: self.incidents)
    @rule(data=st.data(), to=st.sampled_from(State))
    def move(self, data: st.DataObject, to: State) -> None:
        """A person moves an incident."""
        id = data.draw(st.sampled_from(sorted(self.incidents)))
        self.incidents[id] = msgspec.structs.replace(self.incidents[id], state=to)
        self.touched = True

    @rule()
    def settle(self) -> None:
        """Control decides until there is nothing to do, which comes."""
        for _ in range(4 * (len(self.firing) + len(self.over) + len(self.incidents)) + 4):
            made = plan(self.observed(), self.now_us)
            if made is None:
                break
            self.carry_out(made)
        assert plan(self.observed(), self.now_us) is None
        assert {*self.firing} <= {*self.joined}  # none is left alone

    def observed(self) -> Observed:
        """As the controller reads it."""
        known = [each for each in self.incidents.values() if each.state is not State.CLOSED]
        of = {
            each.id: [j for j in self.joined.values() if j.incident_id == each.id] for each in known
        }
        return Observed(
            calling=[each for id, each in self.firing.items() if id not in self.joined],
            incidents=known,
            alerts=of,
            over={
                each.alert_id: self.over[each.alert_id]
                for every in of.values()
                for each in every
                if each.ended_at_us is None and each.alert_id in self.over
            },
            services=SERVICES,
        )

    def carry_out(self, made: Plan) -> None:
        """As the controller acts."""
        match made.do:
            case Do.OPEN:
                assert made.alert is not None
                id = len(self.incidents) + 1
                name = made.alert.labels.get("service")
                self.incidents[id] = incident(id, name if name in SERVICES else None)
                self.join(made.alert, id)
            case Do.JOIN:
                assert made.alert is not None
                assert made.incident is not None
                assert made.alert.id not in self.joined
                woken = msgspec.structs.replace(made.incident, state=State.ACTIVE)
                self.incidents[woken.id] = woken
                self.join(made.alert, woken.id)
            case Do.END:
                before = self.joined[made.alert_id]
                self.joined[made.alert_id] = msgspec.structs.replace(before, ended_at_us=made.at_us)
            case Do.SETTLE:
                assert made.incident is not None
                mine = [j for j in self.joined.values() if j.incident_id == made.incident.id]
                assert all(each.alert_id not in self.firing for each in mine)
                assert self.now_us - made.at_us >= QUIET_US
                calm = msgspec.structs.replace(made.incident, state=State.STABLE)
                self.incidents[calm.id] = calm

    def join(self, joining: Alert, id: int) -> None:
        """An alert is of an incident from now on."""
        self.joined[joining.id] = Joined(
            alert_id=joining.id, incident_id=id, rule=joining.rule, joined_at_us=self.now_us
        )

    @invariant()
    def alerts_alone_make_one_active_incident_of_a_service(self) -> None:
        """A second one takes a person who reopens an earlier one."""
        active = [each.service for each in self.incidents.values() if each.state is State.ACTIVE]
        assert self.touched or len(active) == len(set(active))


TestBox = Box.TestCase
TestBox.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
