"""What people ask of alerts and their rules, through control's handlers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.control.intents import Intents
from engine.control.reconcile import Loop
from storage import alert_muting, alert_rule_versions, alerts, errors, intents, ledger, silences
from storage.alert_rules import Rule
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session
from tests.engine.control.alerts import boxes
from tests.engine.control.alerts.boxes import ERRORS, SECOND_US, Box


async def ask(box: Box, verb: str, target: str, reason: str = "", **arguments: Any) -> Intent:
    """An intent, carried out."""
    now = box.second * SECOND_US

    async def accept(s: Session) -> int:
        return await intents.accept(
            s, actor="kim", role="operator", verb=verb, target=target, arguments=arguments,
            reason=reason, at_us=now,
        )  # fmt: skip

    number = await box.store.write(accept)
    await Loop(box.store, [Intents()], now_us=lambda: now).settle()
    async with box.store.read() as s:
        return await intents.find(s, number)


async def test_a_firing_alert_is_acknowledged_and_that_is_taken_back(tmp_path: Path) -> None:
    """By name, with a reason, in the ledger; a pending one is not."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(1, ok=10, failed=10)
        (alert,) = await box.active()
        assert (await ask(box, "alerts.ack", "1")).outcome == (
            "Alert 1 (errors) is pending, not firing."
        )
        await box.serve(4, ok=10, failed=10)
        done = await ask(box, "alerts.ack", "1", reason="on it")
        assert done.outcome is not None
        assert done.outcome.startswith("Acknowledged alert 1, errors")
        (alert,) = await box.active()
        assert (alert.acknowledged_by, alert.acknowledged_reason) == ("kim", "on it")
        assert (await ask(box, "alerts.unack", "1")).state is intents.State.APPLIED
        assert (await ask(box, "alerts.unack", "1")).state is intents.State.REFUSED
        async with box.store.read() as s:
            entries = await ledger.of(s, "alert", "1")
        assert [entry.verb for entry in entries] == ["alerts.unack", "alerts.ack"]


@pytest.mark.parametrize("target", ["", "x", "-1", "9" * 30, "1; drop", "\u0661"])
async def test_what_names_no_alert_is_refused(tmp_path: Path, target: str) -> None:
    """With a sentence, and no trace in a log."""
    async with boxes.made(tmp_path / "home") as box:
        done = await ask(box, "alerts.ack", target)
        assert done.state is intents.State.REFUSED


async def test_only_an_alert_without_data_is_closed_by_hand(tmp_path: Path) -> None:
    """One that is measured is silenced, or its rule is changed."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(8, ok=10, failed=10)
        done = await ask(box, "alerts.close", "1", reason="x")
        assert (done.state, "measured" in (done.outcome or "")) == (intents.State.REFUSED, True)
        await box.serve(40)
        done = await ask(box, "alerts.close", "1", reason="the test is over")
        assert done.state is intents.State.APPLIED
        assert await box.active() == []


async def test_rules_are_set_removed_and_reset_as_versions(tmp_path: Path) -> None:
    """Setting what is in force changes nothing; the shipped rule comes back."""
    async with boxes.made(tmp_path / "home") as box:
        rule = Rule(name="disk", expression="paddock_host_cpu_ratio > 0.5", summary="busy")
        given = [msgspec.to_builtins(rule)]
        done = await ask(box, "alerts.set_rules", "rules", rules=given)
        assert done.outcome == "Alert rules: disk is version 2."
        done = await ask(box, "alerts.set_rules", "rules", rules=given)
        assert done.outcome == "These rules are in force already; no change."
        await ask(box, "alerts.remove_rule", "disk")
        await ask(box, "alerts.reset_rule", "disk")
        async with box.store.read() as s:
            past = await alert_rule_versions.history(s, "disk")
            in_force = await alert_rule_versions.in_force(s)
        assert [each.kind.value for each in past] == [
            "shipped", "removed", "set", "removed", "shipped",
        ]  # fmt: skip
        assert in_force["disk"].rule == past[0].rule
        assert (await ask(box, "alerts.reset_rule", "errors")).state is intents.State.REFUSED


async def test_only_the_rules_of_a_file_can_be_left_in_force(tmp_path: Path) -> None:
    """With `only` all others are removed."""
    async with boxes.made(tmp_path / "home") as box:
        rule = Rule(name="busy", expression="paddock_host_cpu_ratio > 0.5", summary="busy")
        given = [msgspec.to_builtins(rule)]
        await ask(box, "alerts.set_rules", "rules", rules=given, only=True)
        async with box.store.read() as s:
            assert list(await alert_rule_versions.in_force(s)) == ["busy"]


def test_the_control_socket_refuses_rules_that_cannot_be_evaluated() -> None:
    """Whatever client sends them."""
    bad = msgspec.to_builtins(msgspec.structs.replace(ERRORS, expression="foo > 1"))
    good = msgspec.to_builtins(ERRORS)
    for rules in ([bad], [good, good]):
        with pytest.raises(errors.BadArguments):
            verbs.parse("alerts.set_rules", {"rules": rules})


async def test_a_silence_has_an_end_and_is_ended_by_hand(tmp_path: Path) -> None:
    """It says what it is about now; everything at once cannot be silenced."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(8, ok=10, failed=10)
        matchers = ["service=support"]
        done = await ask(box, "alerts.silence", "x", "test", matchers=matchers, for_s=3600)
        assert done.outcome is not None
        assert done.outcome.endswith("now errors.")
        assert (await ask(box, "alerts.unsilence", "1")).state is intents.State.APPLIED
        assert (await ask(box, "alerts.unsilence", "1")).state is intents.State.REFUSED
        assert (await ask(box, "alerts.unsilence", "7")).state is intents.State.REFUSED


async def test_a_maintenance_window_is_planned_ahead_marks_alerts_and_ends(tmp_path: Path) -> None:
    """Nothing before its beginning; within it the alert fires, marked; after it, it is news."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(8, ok=10, failed=10)
        begin = (box.second + 3_600) * SECOND_US
        planned = await ask(
            box, "alerts.maintain", "x", "upgrade", matchers=["service=support"], for_s=600,
            starts_at_us=begin,
        )  # fmt: skip
        assert planned.outcome is not None
        assert planned.outcome.startswith('Maintenance window 1 of service="support" from ')
        assert "; now" not in planned.outcome

        async def mutes(at_us: int) -> list[str]:
            async with box.store.read() as s:
                active = await alerts.active(s)
                known = await silences.lasting(s, at_us)
            return [each.words for each in alert_muting.muted(active, known, at_us).values()]

        assert await mutes(begin - 1) == []
        assert await mutes(begin) == ["in maintenance (window 1)"]
        assert await mutes(begin + 600 * SECOND_US) == []
        late = await ask(
            box, "alerts.maintain", "x", "upgrade", matchers=["service=support"], for_s=600,
            starts_at_us=begin - 7_200 * SECOND_US,
        )  # fmt: skip
        assert "cannot begin in the past" in (late.outcome or "")
        far = await ask(
            box, "alerts.maintain", "x", "upgrade", matchers=["service=support"], for_s=600,
            starts_at_us=begin + silences.MOST_S * SECOND_US,
        )  # fmt: skip
        assert "at most 30 days ahead" in (far.outcome or "")
        ended = await ask(box, "alerts.unsilence", "1", "done early")
        assert ended.outcome == 'Ended window 1 of service="support".'
        async with box.store.read() as s:
            entries = await ledger.of(s, "silence", "1")
            (alert,) = await alerts.active(s)
            fired = alert.fired_at_us or 0
            assert await silences.during(s, fired, fired + 1) == []
        assert [entry.verb for entry in entries] == ["alerts.unsilence", "alerts.maintain"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"matchers": ["service=a"]},
        {"matchers": ["service=a"], "for_s": 0},
        {"matchers": ["service=a"], "for_s": 31 * 24 * 3600},
        {"matchers": [], "for_s": 60},
        {"matchers": ["service=~.*"], "for_s": 60},
        {"matchers": ["service!=a"], "for_s": 60},
        {"matchers": ['alertname=~".+"'], "for_s": 60},
        {"matchers": ['severity=~"critical|warning|info"'], "for_s": 60},
        {"matchers": ["service"], "for_s": 60},
        {"matchers": ['service=~"(a+)+"'], "for_s": 60},
        {"matchers": ['service=~"("'], "for_s": 60},
    ],
)
def test_a_silence_without_an_end_or_of_everything_is_refused(arguments: dict[str, Any]) -> None:
    """It would hide alerts that were not meant."""
    with pytest.raises(errors.BadArguments):
        verbs.parse("alerts.silence", arguments)


@pytest.mark.parametrize("verb", ["alerts.silence", "alerts.maintain"])
def test_how_long_a_silence_may_last_is_said(verb: str) -> None:
    """In days, as people type it."""
    with pytest.raises(errors.BadArguments, match="at least 1 s and at most 30 days"):
        verbs.parse(verb, {"matchers": ["service=a"], "for_s": 31 * 24 * 3600})


async def test_a_receiver_is_added_tested_and_removed(tmp_path: Path) -> None:
    """What waits for it is dropped; its address is in no record."""
    async with boxes.made(tmp_path / "home") as box:
        receiver = {"kind": "webhook", "shown": "https://h/…", "secret": "0" * 32}
        done = await ask(box, "alerts.add_receiver", "ops", **receiver)
        assert done.outcome == "Added receiver ops (https://h/…) of all alerts."
        done = await ask(box, "alerts.add_receiver", "ops", **receiver)
        assert done.state is intents.State.REFUSED
        assert (await ask(box, "alerts.test_receiver", "ops")).state is intents.State.APPLIED
        done = await ask(box, "alerts.remove_receiver", "ops")
        assert done.outcome is not None
        assert done.outcome.endswith("; 1 undelivered notifications are dropped.")
        assert (await ask(box, "alerts.test_receiver", "ops")).state is intents.State.REFUSED
