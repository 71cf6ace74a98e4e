"""What the store says of a past moment is what it said at that moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from storage import (
    alerts,
    deployments,
    errors,
    freezes,
    incidents,
    intents,
    processes,
    requests,
    rollouts,
    samples,
    services,
    silences,
)
from storage.past import alerts as past_alerts
from storage.past import deployments as past_deployments
from storage.past import incidents as past_incidents
from storage.past import intents as past_intents
from storage.past import processes as past_processes
from storage.past import rollouts as past_rollouts
from storage.past import services as past_services
from storage.processes import Kind
from storage.rollout_states import State, Why
from storage.rollout_steps import OnLabel, SetWeight, Strategy
from storage.service_rows import Owner, OwnerKind, PrefixCache
from storage.services import Arm
from storage.store import Session, Store
from tests.storage import fixtures
from tests.storage.stories import BEGIN_US, SECOND_US, Work, told


async def test_services_of_then_have_the_split_owner_and_freeze_of_then(store: Store) -> None:
    """Also one that was removed and created again; the last release of the box is of no matter."""
    await fixtures.furnish(store)
    by: dict[str, Any] = {"actor": "sara", "intent_id": None}
    owner = Owner(OwnerKind.AB_TEST, "7")

    async def split(s: Session, at_us: int, first: int, **more: Any) -> object:
        arms = [Arm(release=1, weight_bp=first), Arm(release=2, weight_bp=10_000 - first)]
        return await services.set_split(
            s, service="support", arms=arms, expected_version=None, at_us=at_us, **by, **more
        )

    async def create(s: Session, at_us: int) -> object:
        return await services.create(
            s, name="other", release=1, record_text=True, actor="lee", at_us=at_us
        )

    story: list[Work] = [
        lambda s, at_us: split(s, at_us, 9_000),
        create,
        lambda s, at_us: services.set_record_text(s, service="support", on=True, at_us=at_us, **by),
        lambda s, at_us: services.set_on_label(
            s, service="other", to=OnLabel.CANARY, at_us=at_us, **by
        ),
        lambda s, at_us: services.set_prefix_cache(
            s, service="other", to=PrefixCache.TENANT, at_us=at_us, **by
        ),
        lambda s, at_us: services.freeze(s, service="other", reason="drill", at_us=at_us, **by),
        lambda s, at_us: freezes.freeze_box(s, reason="fire", at_us=at_us, **by),
        lambda s, at_us: services.unfreeze(s, service="other", at_us=at_us, **by),
        lambda s, at_us: freezes.unfreeze_box(s, at_us=at_us, **by),
        lambda s, at_us: services.take(s, service="support", owner=owner, at_us=at_us, **by),
        lambda s, at_us: split(s, at_us, 5_000, by=owner),
        lambda s, at_us: services.remove(s, service="other", at_us=at_us, **by),
        create,
    ]
    known = await told(store, story, services.every)
    async with store.read() as s:
        for at_us, then in known.items():
            assert then == await past_services.every(s, at_us)
        first = next(iter(known))
        support = await past_services.find(s, "support", first)
        assert [split.id for split in await past_services.history(s, support, first)] == [
            support.split.id, support.split.id - 1,
        ]  # fmt: skip
        with pytest.raises(errors.NotFound, match="other"):
            await past_services.find(s, "other", first)


async def test_deployments_of_then_have_the_replicas_and_the_status_of_then(store: Store) -> None:
    """With the evidence for which the node gave it up."""
    await fixtures.furnish(store)
    story: list[Work] = [
        lambda s, at_us: deployments.scale(s, "ops-1.0.0", 3, actor="sara", at_us=at_us),
        lambda s, at_us: deployments.mark_failing(s, "ops-1.0.0", "signal 9", at_us),
        lambda s, at_us: deployments.scale(s, "ops-1.0.0", 2, actor="sara", at_us=at_us),
        lambda s, at_us: deployments.restart(s, "ops-1.0.0", actor="sara", at_us=at_us),
        lambda s, at_us: deployments.mark_failing(s, "ops-1.0.0", "signal 6", at_us),
    ]
    known = await told(store, story, deployments.every)
    async with store.read() as s:
        for at_us, then in known.items():
            assert then == await past_deployments.every(s, at_us)
        assert await past_deployments.every(s, 0) == []


async def test_processes_of_then_have_the_states_and_reasons_of_then(store: Store) -> None:
    """Of the run of the node that there was; what stopped in order is not shown."""

    async def start(s: Session, at_us: int) -> None:
        await processes.node_started(s, pid=1, at_us=at_us, host="box01", version="0.1.0")
        await processes.declare(s, name="gateway", kind=Kind.GATEWAY, at_us=at_us)
        await processes.declare(s, name="ops:1", kind=Kind.WORKER, at_us=at_us, deployment="ops")

    def move(name: str, to: processes.State, reason: str | None = None) -> Work:
        return lambda s, at_us: processes.move(s, name, to, at_us=at_us, reason=reason)

    async def again(s: Session, at_us: int) -> None:
        await processes.declare(
            s, name="ops:1", kind=Kind.WORKER, at_us=at_us, deployment="ops", restarts=1
        )

    story: list[Work] = [
        start,
        move("gateway", processes.State.READY),
        move("ops:1", processes.State.READY),
        move("ops:1", processes.State.CRASHED, "signal 9"),
        again,
        move("ops:1", processes.State.READY),
        lambda s, at_us: processes.node_stopped(s, at_us=at_us),
        start,
    ]
    known = await told(store, story, processes.every)
    last = [*known][-1]
    async with store.read() as s:
        for at_us, then in [*known.items()][2:6]:
            node = await past_processes.node(s, at_us)
            found = await past_processes.every(s, node.run, at_us)
            assert [(each.name, each.state, each.reason, each.restarts) for each in then] == [
                (each.name, each.state, each.reason, each.restarts) for each in found
            ]
        assert [each.started_at_us for each in known[[*known][5]]][1:] == [
            each.started_at_us for each in found
        ][1:]
        stopped = await past_processes.node(s, [*known][6])
        assert (stopped.alive, stopped.run and stopped.run.version) == (False, "0.1.0")
        running = await past_processes.node(s, last)
        assert running.run is not None
        assert running.run.started_at_us == last - 30 * SECOND_US
        assert (await past_processes.node(s, BEGIN_US - 1)).run is None


async def test_a_node_that_was_killed_lived_as_long_as_it_measured(store: Store) -> None:
    """What is deleted leaves it open whether it lived."""

    async def work(s: Session) -> None:
        for at_s in (0, 1_000):
            await processes.node_started(
                s, pid=1, at_us=BEGIN_US + at_s * SECOND_US, host="box01", version="0.1.0"
            )
        host = samples.HostSample(
            cpu_percent=1, cores=1, memory_used=1, memory_total=2, disk_used=1, disk_total=2,
            load1=0,
        )  # fmt: skip
        await samples.record(s, BEGIN_US // SECOND_US + 500, [(samples.Kind.HOST, "box01", host)])

    await store.write(work)
    async with store.read() as s:
        alive = [
            (await past_processes.node(s, BEGIN_US + at_s * SECOND_US)).alive
            for at_s in (5, 490, 510, 530, 999, 1_001)
        ]
        assert alive == [True, True, True, False, False, True]
        deleted = await past_processes.node(
            s, BEGIN_US + 900 * SECOND_US, BEGIN_US // SECOND_US * 2
        )
        assert deleted.alive is None


async def test_alerts_of_then_fire_and_are_acknowledged_as_then(store: Store) -> None:
    """An alert that ended since is told of as it was; so is a silence that was ended."""
    numbers: list[int] = []

    async def begin(s: Session, at_us: int) -> None:
        numbers.append(
            await alerts.begin(
                s, rule="errors", rule_version=1, labels={"service": "support"},
                severity=alerts.Severity.CRITICAL, summary="3 % fail", runbook=None,
                state=alerts.State.PENDING, value=0.03, clock_us=1, at_us=at_us,
            )
        )  # fmt: skip

    async def move(s: Session, at_us: int, to: alerts.State, why: alerts.Why) -> None:
        alert = await alerts.find(s, numbers[0])
        await alerts.move(s, alert, to, why=why, at_us=at_us, value=0.05, summary="5 % fail")

    async def silence(s: Session, at_us: int) -> None:
        await silences.add(
            s, matchers=["service=support"], starts_at_us=at_us, ends_at_us=at_us + 10**12,
            comment="known", actor="kim", at_us=at_us,
        )  # fmt: skip

    by: dict[str, Any] = {"actor": "sara", "intent_id": None}
    firing, inactive = alerts.State.FIRING, alerts.State.INACTIVE
    story: list[Work] = [
        begin,
        lambda s, at_us: move(s, at_us, firing, alerts.Why.HELD),
        lambda s, at_us: alerts.acknowledge(s, numbers[0], reason="", at_us=at_us, **by),
        silence,
        lambda s, at_us: alerts.unacknowledge(s, numbers[0], at_us=at_us, **by),
        lambda s, at_us: silences.end(s, 1, actor="kim", at_us=at_us),
        lambda s, at_us: move(s, at_us, inactive, alerts.Why.UNMET),
    ]

    async def read(s: Session) -> Any:
        active = await alerts.active(s)
        return [msgspec.structs.replace(each, acknowledged_reason=None) for each in active]

    known = await told(store, story, read)
    async with store.read() as s:
        for at_us, then in known.items():
            assert then == await past_alerts.active(s, at_us)
        silent = [[each.id for each in await past_alerts.silenced(s, at_us)] for at_us in known]
        assert silent == [[], [], [], [1], [1], [], []]


async def test_incidents_of_then_have_the_state_and_the_people_of_then(store: Store) -> None:
    """One that was closed and reopened since is what it was."""
    by: dict[str, Any] = {"actor": "sara", "intent_id": None}

    async def opened(s: Session, at_us: int) -> object:
        return await incidents.open_up(
            s, title="slow", service="support", severity=incidents.Severity.SEV2,
            at_us=at_us, began_at_us=at_us - 5, **by,
        )  # fmt: skip

    def on(work: Callable[..., Awaitable[object]], *words: Any, **more: Any) -> Work:
        async def step(s: Session, at_us: int) -> object:
            return await work(s, await incidents.find(s, 1), *words, at_us=at_us, **by, **more)

        return step

    story: list[Work] = [
        opened,
        on(incidents.assign, incidents.Role.COMMANDER, "sara"),
        on(incidents.rate, incidents.Severity.SEV1),
        on(incidents.move, incidents.State.STABLE, "rolled back"),
        on(incidents.assign, incidents.Role.COMMANDER, "kim"),
        on(incidents.move, incidents.State.CLOSED, ""),
        on(incidents.move, incidents.State.ACTIVE, "again"),
    ]
    known = await told(store, story, lambda s: incidents.tail(s, 9))
    async with store.read() as s:
        for at_us, then in known.items():
            (now,), (past,) = then, await past_incidents.tail(s, at_us)
            assert (now.state, now.severity, now.roles, now.closed_at_us) == (
                past.state, past.severity, past.roles, past.closed_at_us,
            )  # fmt: skip
        assert await past_incidents.tail(s, BEGIN_US - 1) == []
        assert await past_incidents.open_ones(s, [*known][5]) == []


async def test_rollouts_of_then_are_at_the_step_of_then(store: Store) -> None:
    """With the weight and the sentence of the last move until then; a retry is a new attempt."""
    await fixtures.furnish(store)

    async def start(s: Session, at_us: int) -> object:
        return await rollouts.add(
            s, service="support", stable=1, candidate=2, strategy=Strategy.CANARY,
            steps=(SetWeight(weight_bp=500), SetWeight(weight_bp=10_000)), guards=(),
            load_timeout_s=60, rollback_window_s=60, state=State.LOADING, why=Why.STARTED,
            sentence="r2 is loaded.", actor="sara", at_us=at_us,
        )  # fmt: skip

    def to(state: State, why: Why, sentence: str, **changes: Any) -> Work:
        async def step(s: Session, at_us: int) -> object:
            rollout = await rollouts.find(s, 1)
            return await rollouts.move(
                s, rollout, state, why, sentence, actor="control", at_us=at_us, **changes
            )

        return step

    story: list[Work] = [
        start,
        to(State.SMOKING, Why.LOADED, "It is asked."),
        to(State.STEPPING, Why.SMOKED, "5 %.", step=0, weight_bp=500),
        to(State.STEPPING, Why.NEXT, "50 %.", step=1, weight_bp=5_000),
        to(State.PAUSED, Why.HELD, "sara paused it."),
        to(State.ABORTED, Why.ABORTED, "sara aborted it.", weight_bp=0),
    ]
    known = await told(store, story, lambda s: rollouts.latest(s, "support"))
    same = (
        "state", "why", "sentence", "version", "step", "weight_bp", "moved_at_us", "ended_at_us",
        "began_at_us", "attempt",
    )  # fmt: skip
    async with store.read() as s:
        for at_us, then in known.items():
            past = await past_rollouts.latest(s, "support", at_us)
            assert {name: getattr(then, name) for name in same} == {
                name: getattr(past, name) for name in same
            }
        assert await past_rollouts.latest(s, "support", BEGIN_US - 1) is None
        with pytest.raises(errors.NotFound, match="had not been started"):
            await past_rollouts.find(s, 1, BEGIN_US - 1)


async def test_intents_of_then_had_not_ended_then(store: Store) -> None:
    """Accepted, then claimed, then applied, with the outcome only at the end."""

    async def accept(s: Session, at_us: int) -> object:
        return await intents.accept(
            s, actor="sara", role="operator", verb="services.split", target="support",
            arguments={}, at_us=at_us,
        )  # fmt: skip

    async def claim(s: Session, at_us: int) -> object:
        return await intents.claim(s, verbs=["services.split"], by="control", at_us=at_us)

    story: list[Work] = [
        accept,
        claim,
        lambda s, at_us: intents.end(s, 1, intents.State.APPLIED, "done", at_us, by="control"),
    ]
    known = await told(store, story, intents.tail)
    async with store.read() as s:
        for at_us, then in known.items():
            assert then == await past_intents.tail(s, at_us)
        assert await past_intents.tail(s, BEGIN_US - 1) == []


async def test_requests_of_then_had_ended_then(store: Store) -> None:
    """A long one that arrived before and ended after a moment is not among them."""
    await fixtures.furnish(store)
    arrived = {1: 0, 2: 10, 3: 20}

    async def work(s: Session) -> None:
        made = [
            msgspec.structs.replace(
                fixtures.request(number),
                at_us=BEGIN_US + at_s * SECOND_US,
                latency_us=(15 if number == 1 else 1) * SECOND_US,
            )
            for number, at_s in arrived.items()
        ]
        await requests.record(s, [made[1], made[0], made[2]])

    await store.write(work)
    async with store.read() as s:
        for at_s, count in ((0, 0), (12, 1), (16, 2), (30, 3), (9_999, 3)):
            found = await requests.tail(s, until_us=BEGIN_US + at_s * SECOND_US)
            assert len(found) == count
