"""Alerts on the screen: one list, what is known of each row, and what people do with keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.screens import silencing
from app.snapshot.alerts import AlertRow, Of
from storage import alerts, incident_alerts, incidents, notifications, receivers, silences
from storage import store as stores
from storage.alert_states import State
from storage.alerts import Severity
from storage.home.paths import Home
from storage.store import Session, Store
from tests.app import pilot, populated_homes
from tests.app.pilot import FakeNode
from tests.storage import fixtures

NOW = populated_homes.NOW_US
MINUTE = 60_000_000
FIRING = AlertRow(
    of=Of.ALERT, name="3", title="errors", about="support", state="firing", fires=True,
    matchers=("alertname=errors", "service=the support"),
)  # fmt: skip


async def fire(s: Session, severity: Severity, **labels: str) -> None:
    """An alert that has fired for four minutes."""
    await alerts.begin(
        s, rule="errors", rule_version=1, severity=severity, summary=populated_homes.HOSTILE,
        labels={"alertname": "errors", "severity": severity.value, **labels}, runbook="errors-high",
        state=State.FIRING, value=0.031, clock_us=0, at_us=NOW - 4 * MINUTE,
    )  # fmt: skip


async def scene(store: Store) -> None:
    """One that somebody has to see to, one that is silenced, a receiver that takes nothing."""
    await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await populated_homes.node(s)
        await fire(s, Severity.CRITICAL, service="support")
        await fire(s, Severity.WARNING, service="search")
        await silences.add(
            s, matchers=["service=search"], starts_at_us=NOW - MINUTE, ends_at_us=NOW + 90 * MINUTE,
            comment="load test", actor="kim", at_us=NOW - MINUTE,
        )  # fmt: skip
        await receivers.add(
            s, name="ops", kind=receivers.Kind.WEBHOOK, shown="https://h/…", secret="0" * 32,
            signing=None, matchers=(), group_by=(), group_wait_s=0, group_interval_s=1,
            repeat_interval_s=60, send_resolved=True, actor="kim", at_us=NOW, intent_id=None,
        )  # fmt: skip
        await notifications.queue(
            s, receiver="ops", group_key="k", status="firing", title="t", text="x", body="{}",
            at_us=NOW - 2 * MINUTE,
        )  # fmt: skip

    await store.write(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with those."""
    return populated_homes.make(tmp_path / "home", scene)


async def test_the_list_has_what_fires_first_then_silences_receivers_and_rules(
    home: Home, node: FakeNode
) -> None:
    """At 80 columns, with what is known of the row under the cursor; hostile text stays text."""
    del node
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("a")
        rows = screen.text.split("\n")
        assert "2 firing" in rows[1]
        assert rows[3].startswith("▸alert 1 ")
        assert "▲ firing" in rows[3]
        assert "silenced by 1" in rows[4]
        assert "in force" in rows[5]
        assert "-1.5 h" in rows[5]
        assert "▲ 1 undelivered" in rows[6]
        assert rows[7].split()[0] == "rule"
        assert "␛]0;owned" in screen.text
        assert max(len(row) for row in rows) <= 80
        await screen.press("down", "down", "down")
        await screen.until(lambda: "1 undelivered for 2 min" in screen.text)
        await screen.press("down")
        await screen.until(lambda: "expression" in screen.text)
        await screen.press("y")
        assert "Copied paddock alerts rules show " in screen.said


def test_each_row_offers_what_can_be_done_to_it_or_says_why_not() -> None:
    """An alert that was acknowledged is not again; the silence that mutes one ends from there."""

    def unable(name: str, row: AlertRow) -> str:
        found = silencing.offer(name, row, NOW, None)
        assert found is not None
        return found.unable

    acknowledged = replace(FIRING, acknowledged_by="kim")
    assert unable("alerts.ack", acknowledged) == "kim acknowledged alert 3"
    assert unable("alerts.unack", FIRING) == "alert 3 is not acknowledged"
    assert unable("alerts.close", replace(FIRING, fires=False)) == "alert 3 does not fire"
    assert unable("alerts.silence", replace(FIRING, silence="2"))
    assert unable("alerts.test_receiver", FIRING) == "there is no receiver under the cursor"
    end = silencing.offer("alerts.unsilence", replace(FIRING, silence="2"), NOW, None)
    assert end is not None
    assert (end.target, end.unable) == ("2", "")
    assert silencing.offer("incidents.close", FIRING, NOW, None) is None
    shown = [[verb.key for verb in silencing.verbs(each)] for each in (FIRING, acknowledged)]
    assert shown == [["n", "A", "Z", "M", "x"], ["n", "u", "Z", "M", "x"]]


@pytest.mark.parametrize("typed", ["", "2h", "service=a", "service=a 0s", "service='a 2h"])
def test_a_silence_without_what_or_how_long_is_corrected(typed: str) -> None:
    """The line stays as it was typed."""
    found = silencing.offer("alerts.silence", FIRING, NOW, typed)
    assert found is not None
    assert (found.unable != "", found.form) == (True, typed)


def test_what_is_typed_first_silences_this_alert_for_two_hours() -> None:
    """Values with blanks are quoted; the effect has the end."""
    first = silencing.offer("alerts.silence", FIRING, NOW, None)
    assert first is not None
    assert first.form == "alertname=errors 'service=the support' 2h"
    found = silencing.offer("alerts.silence", FIRING, NOW, first.form)
    assert found is not None
    assert found.arguments == {"matchers": list(FIRING.matchers), "for_s": 7200}
    assert found.effect.endswith("until 2025-03-14 05:12:07Z")


def test_the_runbook_of_an_alert_starts_about_what_the_alert_is_about() -> None:
    """It stops before each action; a rule without a runbook says so."""
    found = silencing.offer("runbooks.start", replace(FIRING, runbook="slow"), NOW, None)
    assert found is not None
    assert (found.target, found.arguments) == ("slow", {"alert": 3, "pace": "step"})
    assert "start slow for alert 3 (errors support)" in found.effect
    none = silencing.offer("runbooks.start", FIRING, NOW, None)
    assert none is not None
    assert none.unable == "the rule errors names no runbook"


async def test_two_keys_on_an_alert_ask_for_its_runbook(home: Home, node: FakeNode) -> None:
    """`n` says what it would do and enter does it; what is typed in between is the reason."""
    node.alone = True  # the runner is not here
    async with pilot.at(pilot.program(home)) as screen:
        await screen.press("colon")
        await screen.type("rw")
        await screen.press("enter")
        await screen.go("a")
        await screen.press("n", "enter")
        asked = ("runbooks.start", "errors-high", {"alert": 1, "pace": "step"}, None)
        await screen.until(lambda: node.asked == [asked])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("service=a 2h", "service=a' is not a time"),
        ("22:00 2h", "say what is maintained"),
        ("service=a 2020-01-01 2h", "is not a time"),
    ],
)
def test_a_window_without_what_or_when_is_corrected(typed: str, said: str) -> None:
    """The line stays as it was typed."""
    found = silencing.offer("alerts.maintain", FIRING, NOW, typed)
    assert found is not None
    assert said in found.unable
    assert found.form == typed


def test_a_window_is_planned_for_the_next_such_time() -> None:
    """03:12 now: 02:00 is tomorrow's."""
    found = silencing.offer("alerts.maintain", FIRING, NOW, "service=support 02:00 90m")
    assert found is not None
    assert found.effect.startswith(
        "maintenance of service=support from 2025-03-15 02:00:00Z to 2025-03-15 03:30:00Z"
    )
    assert found.arguments["for_s"] == 5_400


async def test_an_alert_in_a_maintenance_window_is_marked_and_leads_to_its_incident(
    home: Home, node: FakeNode
) -> None:
    """It stays in the list; enter opens its incident, and without one its runbook."""

    async def join(s: Session) -> None:
        opened = await incidents.open_up(
            s, title="Errors", service="support", severity=incidents.Severity.SEV2,
            actor="control", at_us=NOW,
        )  # fmt: skip
        await incident_alerts.join(s, opened.id, alert_id=1, rule="errors", at_us=NOW)
        await alerts.begin(
            s, rule="slow", rule_version=1, severity=Severity.INFO, summary="slow", value=1.0,
            labels={"alertname": "slow", "severity": "info"}, runbook="high-latency",
            state=State.FIRING, clock_us=0, at_us=NOW,
        )  # fmt: skip

    store = await stores.open(home)
    await store.write(join)
    await store.close()
    async with pilot.at(pilot.program(home)) as screen:
        await screen.press("colon", *"rw", "enter")
        await screen.go("a")
        await screen.press("M", "enter", *"disk", "enter")
        await screen.until(lambda: "in window 2" in screen.text.split("\n")[3])
        await screen.until(lambda: "05:12:07Z by sara: disk" in screen.text)
        assert [verb for verb, *_ in node.asked] == ["alerts.maintain"]
        await screen.press("enter")
        await screen.until(lambda: screen.place.where == "incident" and "INC-1" in screen.text)
        await screen.press("escape", "down", "down")
        await screen.until(lambda: screen.place.where == "alerts" and screen.shown())
        await screen.press("enter")
        await screen.until(lambda: "▸    –  high-latency" in screen.text)
        assert screen.place.where == "runbooks"


async def test_an_alert_is_acknowledged_and_silenced_by_keys(home: Home, node: FakeNode) -> None:
    """A silence without a reason is not asked for."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.press("colon")
        await screen.type("rw")
        await screen.press("enter")
        await screen.go("a")
        await screen.press("Z", "enter", "enter")
        assert "it needs a reason" in screen.said
        assert node.asked == []
        await screen.press("Z", "enter")
        await screen.type("drill")
        await screen.press("enter")
        await screen.until(lambda: "silenced by 2" in screen.text.split("\n")[3])
        await screen.press("E", "enter")
        await screen.until(lambda: "▲ firing" in screen.text.split("\n")[3])
        await screen.press("A", "enter")
        await screen.until(lambda: "acknowledged by sara" in screen.text)
        assert [verb for verb, *_ in node.asked] == [
            "alerts.silence", "alerts.unsilence", "alerts.ack",
        ]  # fmt: skip
