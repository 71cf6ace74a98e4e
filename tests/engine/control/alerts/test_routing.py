"""Which notifications are due when: Alertmanager's semantics, step by step and in any order."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.control.alerts import messages, routing
from engine.control.alerts.routing import Notice
from storage import alert_muting
from storage.alert_groups import Notified
from storage.alerts import Alert, Severity, State
from storage.receivers import Kind, Receiver
from storage.silences import Silence
from tests.engine.control.alerts.made_alerts import changed, made

_US: Final = 1_000_000
OPS: Final = Receiver(
    name="ops", kind=Kind.WEBHOOK, shown="https://h/…", secret="0" * 32, signing=None,
    matchers=(), group_by=("alertname", "service"), group_wait_s=30, group_interval_s=300,
    repeat_interval_s=3600, send_resolved=True, created_at_us=1, created_by="kim",
)  # fmt: skip


def alert(id: int, rule: str = "slow", **labels: str) -> Alert:
    """A firing alert about service a."""
    named = {"alertname": rule, "severity": "warning", "service": "a"} | labels
    found = changed(made(id, named, State.FIRING, rule=rule), severity=Severity(named["severity"]))
    return changed(found, labels=named)


class Play:
    """The groups of one receiver over time."""

    def __init__(self, receiver: Receiver = OPS) -> None:
        self.receiver = receiver
        self.groups: dict[tuple[str, str], Notified] = {}
        self.known: dict[int, Alert] = {}
        self.clock_s = 0

    def at(self, clock_s: int, *firing: Alert, muted: tuple[int, ...] = ()) -> list[Notice]:
        """The notifications at that time, while these alerts fire."""
        self.clock_s = clock_s
        self.known |= {each.id: each for each in firing}
        ids = {each.id for each in firing}
        ended = {id: each for id, each in self.known.items() if id not in ids}
        notices = routing.plan(
            [self.receiver], self.groups, firing, ended, muted, clock_us=clock_s * _US
        )
        for notice in notices:
            key = notice.receiver.name, notice.key
            if notice.group is None:
                self.groups.pop(key, None)
            else:
                self.groups[key] = notice.group
        return [notice for notice in notices if notice.due]

    def told(self, clock_s: int, *firing: Alert, muted: tuple[int, ...] = ()) -> list[Any]:
        """The same as numbers: those that fire, those that were resolved."""
        return [
            ([each.id for each in notice.firing], [each.id for each in notice.resolved])
            for notice in self.at(clock_s, *firing, muted=muted)
        ]


def test_a_group_waits_is_told_repeats_and_ends() -> None:
    """group_wait, then silence until the repeat interval, then the end."""
    play = Play()
    assert play.told(0, alert(1)) == []
    assert play.told(30, alert(1)) == [([1], [])]
    assert play.told(345, alert(1)) == []
    assert play.told(3615, alert(1)) == []
    assert play.told(3930, alert(1)) == [([1], [])]
    assert play.told(3945) == []
    assert play.told(4230) == [([], [1])]
    assert play.groups == {}


def test_what_joins_a_group_is_told_at_its_interval() -> None:
    """Together with what fires already."""
    play = Play()
    play.at(0, alert(1))
    play.at(30, alert(1))
    two = alert(2, release="r2")
    assert play.told(60, alert(1), two) == []
    assert play.told(330, alert(1), two) == [([1, 2], [])]
    assert play.told(630, two) == [([2], [1])]


def test_an_alert_that_ends_while_its_group_waits_is_not_told() -> None:
    """Flapping for half a minute pages no one."""
    play = Play()
    play.at(0, alert(1))
    assert play.told(15) == []
    assert play.groups == {}
    assert play.told(45) == []


def test_what_is_muted_is_not_told_and_its_end_is_told_to_those_who_know() -> None:
    """Acknowledged after it was told: no repeat, but the end."""
    play = Play()
    play.at(0, alert(1))
    play.at(30, alert(1))
    assert play.told(4000, alert(1), muted=(1,)) == []
    assert play.told(8000, alert(1), muted=(1,)) == []
    assert play.told(8300) == [([], [1])]
    quiet = Play()
    assert quiet.told(0, alert(1), muted=(1,)) == []
    assert quiet.told(30, alert(1), muted=(1,)) == []
    assert quiet.told(400) == []
    assert quiet.told(700, alert(2)) == []
    assert quiet.told(730, alert(2)) == [([2], [])]


def test_a_silence_that_ends_tells_what_still_fires() -> None:
    """Nobody was told, so it is news."""
    play = Play()
    play.at(0, alert(1), muted=(1,))
    assert play.told(100, alert(1)) == []
    assert play.told(130, alert(1)) == [([1], [])]


def test_a_receiver_is_told_of_what_its_matchers_fit_in_its_groups() -> None:
    """Others are for others."""
    pager = msgspec.structs.replace(
        OPS, matchers=('severity="critical"',), group_by=("service",), group_wait_s=0
    )
    bad, worse = alert(2, "errors", severity="critical"), alert(3, "down", severity="critical")
    play = Play(pager)
    assert play.told(0, alert(1), bad, worse) == [([2, 3], [])]


def test_a_receiver_without_resolved_is_told_of_no_end() -> None:
    """And its group still ends."""
    play = Play(msgspec.structs.replace(OPS, send_resolved=False))
    play.at(0, alert(1))
    play.at(30, alert(1))
    assert play.told(400) == []
    assert play.groups == {}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_in_any_order_beginnings_and_ends_are_told_once_each_in_turn(seed: int) -> None:
    """Of every alert: told, perhaps repeated, then its end once; what was told ends told."""
    chance = random.Random(seed)
    play, firing = Play(), dict[int, Alert]()
    state: dict[int, str] = {}
    number = 0
    for step in range(160):
        if step < 80 and chance.random() < 0.3:
            number += 1
            firing[number] = alert(number, release=f"r{number}", service=chance.choice("ab"))
        if firing and chance.random() < 0.3:
            firing.pop(chance.choice(list(firing)))
        if step >= 80:
            firing.clear()
        muted = tuple(id for id in firing if chance.random() < 0.1)
        for notice in play.at(step * 60, *firing.values(), muted=muted):
            for each in notice.firing:
                assert state.get(each.id) != "ended"
                assert each.id not in muted
                state[each.id] = "told"
            for each in notice.resolved:
                assert state[each.id] == "told"
                state[each.id] = "ended"
    assert set(state.values()) <= {"ended"}
    assert play.groups == {}


def muted(*found: Alert, silences: tuple[Silence, ...] = ()) -> Mapping[int, str]:
    """Why alerts are not notified."""
    return {id: each.words for id, each in alert_muting.muted(found, silences, 10).items()}


def test_critical_inhibits_warnings_about_the_same_thing_alone() -> None:
    """Same labels but for name and severity; alerts about nothing in particular inhibit none."""
    worse = alert(1, "latency-critical", severity="critical")
    other = alert(4, "slow", service="b")
    box, disk = alert(5, "cost", service=""), alert(6, "disk", severity="critical", service="")
    bare = [
        changed(each, labels={k: v for k, v in each.labels.items() if v}) for each in (box, disk)
    ]
    assert muted(worse, alert(2), alert(3, release="r1"), other, *bare) == {
        2: "inhibited by alert 1"
    }


def test_a_silence_holds_from_its_beginning_to_its_end() -> None:
    """And for what its matchers fit."""
    silence = Silence(
        id=7, matchers=('service="a"', 'alertname=~"sl.*"'), starts_at_us=5, ends_at_us=20,
        comment="x", maintenance=None, created_at_us=1, created_by="kim", ended_at_us=None,
        ended_by=None,
    )  # fmt: skip
    assert muted(alert(1), alert(2, service="b"), silences=(silence,)) == {
        1: "silenced by silence 7"
    }
    for fields in ({"starts_at_us": 11}, {"ends_at_us": 10}, {"ended_at_us": 9}):
        assert muted(alert(1), silences=(msgspec.structs.replace(silence, **fields),)) == {}


def test_a_silence_that_began_holds_though_the_clock_is_set_back() -> None:
    """When an hour repeats, its silences still hold; planned ones wait."""
    hour = 3_600_000_000
    silence = Silence(
        id=7, matchers=('service="a"',), starts_at_us=2 * hour, ends_at_us=3 * hour, comment="x",
        maintenance=None, created_at_us=2 * hour, created_by="kim", ended_at_us=None, ended_by=None,
    )  # fmt: skip
    assert [silence.holds(at) for at in (hour, 2 * hour, 3 * hour)] == [True, True, False]
    planned = msgspec.structs.replace(silence, created_at_us=hour)
    assert [planned.holds(at) for at in (hour, 2 * hour, 3 * hour)] == [False, True, False]


def test_a_message_is_alertmanagers_version_4() -> None:
    """With what its alerts have in common, and text that holds one line an alert."""
    ended = changed(alert(2, release="r2"), ended_at_us=3_000_000, summary="slow\nagain\x1b[31m")
    notice = Notice(OPS, {"alertname": "slow", "service": "a"}, "k", None, (alert(1),), (ended,))
    body = messages.body(notice)
    assert list(body) == [
        "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels",
        "commonLabels", "commonAnnotations", "externalURL", "alerts",
    ]  # fmt: skip
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "ops")
    assert body["commonLabels"] == {"alertname": "slow", "severity": "warning", "service": "a"}
    assert [each["status"] for each in body["alerts"]] == ["firing", "resolved"]
    assert body["alerts"][1]["endsAt"] == "1970-01-01T00:00:03.000Z"
    assert len(messages.text(notice).splitlines()) == 2
    assert messages.title(notice, "box01") == "[FIRING] slow a on box01 (warning)"
