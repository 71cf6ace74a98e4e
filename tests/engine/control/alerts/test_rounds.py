"""Rounds over a real store: what fires, what ends, and what neither may do."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest

from storage import (
    alert_points,
    alert_rounds,
    alert_rule_versions,
    alerts,
    budgets,
    errors,
    processes,
    services,
)
from storage.alert_rounds import Outcome
from storage.alert_rules import Rule
from storage.alerts import State, Why
from storage.budgets import Budget, Period, Scope
from storage.samples import GatewaySample, HostSample, Kind
from storage.store import Session
from storage.tallies import Tally
from tests.engine.control.alerts import boxes
from tests.engine.control.alerts.boxes import ERRORS

PENDING, FIRING = State.PENDING, State.FIRING


async def test_an_alert_fires_once_its_expression_held_long_enough_and_ends_when_it_does_not(
    tmp_path: Path,
) -> None:
    """Pending, firing, over: three moves, each with its event."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(4, ok=20)
        assert await box.active() == []
        await box.serve(4, ok=10, failed=10)
        assert await box.states() == [PENDING]
        await box.serve(2, ok=10, failed=10)
        (alert,) = await box.active()
        assert (alert.state, alert.labels["service"]) == (FIRING, "support")
        assert alert.summary == "support fails 50%"
        await box.serve(6, ok=20)
        assert await box.active() == []
        assert await box.moves() == ["pending", "firing", "inactive"]


async def test_missing_data_neither_fires_nor_ends_an_alert(tmp_path: Path) -> None:
    """Traffic that stops is no recovery; the alert says that nothing is measured."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(8, ok=10, failed=10)
        assert await box.states() == [FIRING]
        await box.serve(40)
        (alert,) = await box.active()
        assert alert.state is FIRING
        assert alert.no_data_since_us is not None
        async with box.store.read() as s:
            assert (await alert_rounds.health(s))["errors"].outcome is Outcome.NO_DATA
        await box.serve(6, ok=20)
        assert await box.active() == []


async def test_too_few_samples_are_no_data(tmp_path: Path) -> None:
    """One failure of two requests at night pages no one."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(12, failed=1)
        assert await box.moves() == []


async def test_a_control_that_is_killed_goes_on_with_the_alerts_as_they_were(
    tmp_path: Path,
) -> None:
    """The time that it was away does not count; nothing is moved twice."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(3, ok=10, failed=10)
        assert await box.states() == [PENDING]
        box.restart()
        await box.serve(2, ok=10, failed=10)
        assert await box.states() == [PENDING]
        await box.serve(1, ok=10, failed=10)
        assert await box.states() == [FIRING]
        box.restart()
        await box.serve(4, ok=10, failed=10)
        assert await box.moves() == ["pending", "firing"]


@pytest.mark.parametrize("jump_s", [-3600, 3600])
async def test_a_clock_that_jumps_ends_no_alert_and_hastens_none(
    tmp_path: Path, jump_s: int
) -> None:
    """`for` is counted on a clock that does not jump."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(8, ok=10, failed=10)
        assert await box.states() == [FIRING]
        box.second += jump_s
        await box.serve(8, ok=10, failed=10)
        assert await box.states() == [FIRING]
        await box.serve(8, ok=20)
        assert await box.active() == []
        assert await box.moves() == ["pending", "firing", "inactive"]


async def test_seconds_that_are_written_late_are_counted(tmp_path: Path) -> None:
    """A store that was locked for ten seconds hides no failure."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(4, ok=20)
        late = box.second
        await box.serve(1, ok=20)
        box.second, now = late, box.second
        sample = Tally(requests=60, failed=60).sample()
        await box.record(Kind.ARM, "support/r1", sample)
        box.second = now
        await box.serve(1, ok=20)
        assert await box.states() == [PENDING]


async def test_a_rule_that_cannot_be_evaluated_is_shown_and_stops_no_other(
    tmp_path: Path,
) -> None:
    """Its fault is in its health; the rule beside it fires."""
    twice = Rule(
        name="twice",
        expression="paddock_requests_total * on (service) paddock_requests_total > 1",
        summary="twice",
    )
    async with boxes.made(tmp_path / "home", twice, ERRORS) as box:
        await box.serve(8, ok=10, failed=10)
        assert [alert.rule for alert in await box.active()] == ["errors"]
        async with box.store.read() as s:
            health = await alert_rounds.health(s)
        assert health["twice"].outcome is Outcome.ERROR
        assert "several series" in health["twice"].sentence
        assert health["errors"].outcome is Outcome.MEASURED


async def test_a_kept_rule_that_is_refused_by_now_stops_no_other(tmp_path: Path) -> None:
    """Its health says what to change; the rule beside it fires."""
    refused = Rule(name="refused", expression="paddock_instance_up / (1 - 1) > 2", summary="never")

    async def keep(s: Session) -> None:
        s.add(
            alert_rule_versions.VersionRow(
                name="refused", version=1, kind="set", body=msgspec.json.encode(refused).decode(),
                created_at_us=6, created_by="sara", intent_id=None,
            )
        )  # fmt: skip

    async with boxes.made(tmp_path / "home", ERRORS) as box:
        await box.store.write(keep)
        await box.serve(8, ok=10, failed=10)
        assert await box.states() == [FIRING]
        async with box.store.read() as s:
            health = await alert_rounds.health(s)
        assert health["refused"].outcome is Outcome.ERROR
        assert "divides by zero" in health["refused"].sentence
        assert health["errors"].outcome is Outcome.MEASURED


async def test_a_changed_rule_ends_alerts_that_it_would_not_raise(tmp_path: Path) -> None:
    """With another severity it is another alert; a removed rule has none."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(8, ok=10, failed=10)
        milder = msgspec.structs.replace(ERRORS, severity=alerts.Severity.WARNING)
        await box.store.write(lambda s: box.set(s, milder))
        await box.serve(1, ok=10, failed=10)
        (alert,) = await box.active()
        assert (alert.state, alert.severity) == (PENDING, alerts.Severity.WARNING)

        async def remove(s: Session) -> None:
            await alert_rule_versions.remove(s, "errors", actor="kim", at_us=9, intent_id=None)

        await box.store.write(remove)
        await box.serve(1, ok=10, failed=10)
        assert await box.active() == []


async def test_an_alert_about_a_service_that_was_removed_ends(tmp_path: Path) -> None:
    """At the next round, although its last minutes are still in the range of the rule."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(8, ok=10, failed=10)

        async def remove(s: Session) -> None:
            await services.remove(s, service="support", actor="kim", at_us=9, intent_id=None)

        await box.store.write(remove)
        await box.serve(1)
        assert await box.active() == []
        async with box.store.read() as s:
            (ended,) = await alerts.ended(s)
        assert ended.why is Why.GONE


async def test_an_alert_about_a_budget_that_was_removed_ends(tmp_path: Path) -> None:
    """Nothing is measured of it any more, and nothing will be."""
    refuses = Rule(
        name="refuses", expression='paddock_budget_state{state="refuses"} == 1', summary="spent"
    )
    budget = Budget(scope=Scope.SERVICE, subject="support", period=Period.MONTH, limit_micro=0)
    async with boxes.made(tmp_path / "home", refuses) as box:
        await box.store.write(lambda s: budgets.set(s, budget, actor="kim", at_us=8))
        await box.serve(2)
        assert await box.states() == [State.FIRING]
        await box.store.write(
            lambda s: budgets.remove(
                s, Scope.SERVICE, "support", Period.MONTH, actor="kim", at_us=9
            )
        )
        await box.serve(1)
        assert await box.active() == []


DOWN = Rule(name="down", expression="paddock_instance_up == 0", summary="{{ $labels.worker }}")
ALL_DOWN = Rule(
    name="all-down", expression="max by (deployment) (paddock_instance_up) == 0", summary="down"
)


@pytest.mark.parametrize("rule", [DOWN, ALL_DOWN])
async def test_an_alert_about_a_worker_that_no_service_needs_ends(
    tmp_path: Path, rule: Rule
) -> None:
    """Its deployment is kept with its release; while a split asks for it, the alert stays."""
    async with boxes.made(tmp_path / "home", rule) as box:
        worker = "ops-1.0.0:1"

        async def crash(s: Session) -> None:
            await processes.declare(
                s, name=worker, kind=processes.Kind.WORKER, deployment="ops-1.0.0", at_us=1
            )
            await processes.move(s, worker, processes.State.CRASHED, at_us=2, reason="signal 9")

        async def forget(s: Session) -> None:
            await processes.move(s, worker, processes.State.STOPPED, at_us=3)
            await processes.forget(s, worker)

        await box.store.write(crash)
        await box.serve(1)
        await box.store.write(forget)
        await box.serve(1)
        assert await box.states() == [FIRING]

        async def remove(s: Session) -> None:
            await services.remove(s, service="support", actor="kim", at_us=9, intent_id=None)

        await box.store.write(remove)
        await box.serve(1)
        assert await box.active() == []


async def test_an_acknowledgement_is_the_alerts_and_ends_with_it(tmp_path: Path) -> None:
    """The next one is news again."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(8, ok=10, failed=10)
        (alert,) = await box.active()

        async def ack(s: Session) -> None:
            await alerts.acknowledge(
                s, alert.id, reason="on it", actor="kim", at_us=7, intent_id=None
            )

        await box.store.write(ack)
        await box.serve(1, ok=10, failed=10)
        assert [each.acknowledged_by for each in await box.active()] == ["kim"]
        await box.serve(6, ok=20)
        await box.serve(8, ok=10, failed=10)
        assert [each.acknowledged_by for each in await box.active()] == [None]
        with pytest.raises(errors.Invalid):
            await box.store.write(ack)


async def test_an_alert_on_a_rare_event_ends_when_its_range_is_over(tmp_path: Path) -> None:
    """A counter that is only written with an event is measured in between."""
    rule = Rule(
        name="refused",
        expression="increase(paddock_connections_refused_total[2m]) > 0",
        summary="{{ $labels.reason }}",
    )
    async with boxes.made(tmp_path / "home", rule) as box:
        await box.serve(2)
        box.pass_step()
        refused = GatewaySample(held=0, connections=1, refused={"full": 2})
        await box.record(Kind.GATEWAY, "gateway", refused)
        await box.rounds.once()
        assert [alert.summary for alert in await box.active()] == ["full"]
        await box.serve(12)
        assert await box.active() == []


async def test_gauges_of_the_machine_are_evaluated(tmp_path: Path) -> None:
    """A disk of 95 % is over 90 %, by the shipped expression."""
    disk = Rule(
        name="disk",
        expression="paddock_host_disk_used_bytes / paddock_host_disk_total_bytes > 0.9",
        summary="{{ $value | humanizePercentage }} full",
    )
    host = HostSample(
        cpu_percent=1, cores=2, memory_used=1, memory_total=2, disk_used=95, disk_total=100, load1=0
    )
    async with boxes.made(tmp_path / "home", disk) as box:
        box.pass_step()
        await box.record(Kind.HOST, "box", host)
        await box.rounds.once()
        assert [alert.summary for alert in await box.active()] == ["95% full"]


async def test_a_store_that_is_locked_holds_a_round_up_and_nothing_is_lost(tmp_path: Path) -> None:
    """What was found before the lock is stored after it, once."""
    async with boxes.made(tmp_path / "home") as box:
        await box.serve(7, ok=10, failed=10)
        before = await box.moves()
        box.pass_step()
        await box.record(Kind.ARM, "support/r1", Tally(requests=20, ok=10, failed=10).sample())
        with contextlib.closing(sqlite3.connect(box.store.home.database)) as other:
            other.execute("BEGIN IMMEDIATE")
            held = asyncio.create_task(box.rounds.once())
            done, _ = await asyncio.wait({held}, timeout=0.5)
            assert not done
            assert await box.moves() == before
            other.rollback()
        await held
        await box.serve(2, ok=10, failed=10)
        assert await box.states() == [FIRING]
        assert await box.moves() == ["pending", "firing"]


async def test_a_store_that_cannot_be_read_loses_the_round_alone(tmp_path: Path) -> None:
    """Alerts are as they were, and how long it lasted is itself a series."""
    unwritten = Rule(
        name="unwritten",
        expression="increase(paddock_store_unwritten_seconds_total[5m]) > 10",
        summary="{{ $value }}",
    )
    async with boxes.made(tmp_path / "home", unwritten) as box:
        await box.serve(4)
        away = box.store.home.database.rename(box.store.home.database.with_suffix(".away"))
        for _ in range(2):
            box.pass_step()
            with pytest.raises(errors.Unavailable):
                await box.rounds.once()
        away.rename(box.store.home.database)
        await box.serve(3)
        assert [alert.rule for alert in await box.active()] == ["unwritten"]


RESTARTS = Rule(
    name="crash-loop",
    expression="increase(paddock_process_restarts_total[3m]) >= 3",
    for_s=30,
    keep_firing_for_s=30,
    severity=alerts.Severity.CRITICAL,
    summary="{{ $labels.process }} was restarted {{ $value | humanize }} times",
)


async def declare(box: boxes.Box, restarts: int) -> None:
    """The worker was restarted so often."""

    async def work(s: Session) -> None:
        await processes.declare(
            s, name="ops:1", kind=processes.Kind.WORKER, at_us=box.second * boxes.SECOND_US,
            pid=4_000, restarts=restarts, deployment="ops",
        )  # fmt: skip

    await box.store.write(work)


async def test_what_an_expression_looks_back_over_survives_restarts_of_control(
    tmp_path: Path,
) -> None:
    """Restarted while an alert is pending, fires and is kept firing: the values are the same."""

    async def walked(root: Path, *, restart: bool) -> tuple[list[float | None], list[str]]:
        seen: list[float | None] = []
        async with boxes.made(root, RESTARTS) as box:
            for step in range(34):
                await declare(box, min(step // 2, 4))
                if restart and step % 5 == 4:
                    box.restart()
                await box.serve(1)
                seen.append(next((each.value for each in await box.active()), None))
            return seen, await box.moves()

    values, moves = await walked(tmp_path / "without", restart=False)
    assert moves == ["pending", "firing", "inactive"]
    again, moves_again = await walked(tmp_path / "with", restart=True)
    assert moves_again == moves
    held = [(one, other) for one, other in zip(values, again, strict=True) if one and other]
    assert len(held) > 6
    assert [one for one, _ in held] == [other for _, other in held]


async def test_the_time_that_control_was_away_is_a_gap(tmp_path: Path) -> None:
    """A value is not carried over it; the points stay as few as the changes."""
    rule = msgspec.structs.replace(
        RESTARTS, expression="count_over_time(paddock_process_restarts_total[10m]) > 0", for_s=0
    )
    async with boxes.made(tmp_path / "home", rule) as box:
        await declare(box, 2)
        await box.serve(8)
        box.second += 240
        box.restart()
        await box.serve(1)
        (alert,) = await box.active()
        assert alert.value == 9
        box.second -= 3_600  # the clock is set back by an hour
        await box.serve(1)
        async with box.store.read() as s:
            ((_, points),) = (await alert_points.read(s, box.second)).items()
        assert points == [(box.second, 2.0)]


async def test_points_are_deleted_once_no_rule_looks_back_so_far(tmp_path: Path) -> None:
    """But for the newest of those, which says what held then; and series of no rule."""
    one, other = ("a", (("process", "x"),)), ("b", ())

    async def work(s: Session) -> dict[alert_points.Series, list[tuple[int, float | None]]]:
        for at_s in (10, 20, 30, 40):
            await alert_points.write(s, at_s, {one: float(at_s), other: None})
        await alert_points.prune(s, ["a"], 35)
        return await alert_points.read(s, 100)

    async with boxes.made(tmp_path / "home") as box:
        assert await box.store.write(work) == {one: [(30, 30.0), (40, 40.0)]}
