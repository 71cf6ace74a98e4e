"""The state of instances, rollouts, runs and notifications as exported series.

Reads only. Imported by `engine.control.alerts` and by the gateway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from engine.metering import series_of_spending
from engine.metering.series_of_samples import Value
from storage import (
    automations,
    budgets,
    deployments,
    notifications,
    processes,
    receivers,
    rollouts,
    runs,
    spending,
    upstream_health,
)
from storage.deployments import Backend
from storage.home import config
from storage.processes import Process, State
from storage.rollouts import Rollout, Why
from storage.rollouts import State as RolloutState
from storage.runs import Run
from storage.runs import State as RunState
from storage.sqlite import location
from storage.store import Session

_ROLLOUTS: Final = 200
_RUNS: Final = 50
_WATCHED: Final = (
    RolloutState.LOADING,
    RolloutState.SMOKING,
    RolloutState.PAUSED,
    RolloutState.ABORTED,
)
_SECOND_US: Final = 1_000_000


async def values(s: Session, now_us: int, memory: budgets.Memory | None = None) -> list[Value]:
    """The points of this moment; `memory` spares reading a month's usage each time."""
    known = await processes.every(s)
    found = [*of_instances(known), *of_restarts(known)]
    health = await upstream_health.every(s)
    for deployment in await deployments.every(s):
        if deployment.backend is Backend.UPSTREAM and deployment.upstream in health:
            up = health[deployment.upstream].reason is None
            labels = {"deployment": deployment.name, "worker": deployment.upstream}
            found.append(("paddock_instance_up", labels, float(up)))
    newest: dict[str, Rollout] = {}
    for rollout in await rollouts.tail(s, _ROLLOUTS):
        newest.setdefault(rollout.service, rollout)
    for rollout in newest.values():
        found += of_rollout(rollout, now_us)
    backlog = await notifications.backlog(s)
    for receiver in await receivers.every(s):
        waits = backlog.get(receiver.name)
        old = 0.0 if waits is None else max(now_us - waits.oldest_us, 0) / _SECOND_US
        found.append(("paddock_notification_oldest_seconds", {"receiver": receiver.name}, old))
    found += of_automation(await runs.tail(s, _RUNS))
    settings, _ = config.readable(await location.home(await s.connection()))
    today = await spending.today(s, now_us // _SECOND_US, settings.price)
    money = {"currency": today.bill.currency}
    for name, micro in (
        ("paddock_cost_today", today.micro),
        ("paddock_cost_today_projected", today.projected_micro),
    ):
        if micro is not None:
            found.append((name, money, micro / 1e6))
    return [*found, *await series_of_spending.values(s, now_us, settings.price, memory)]


def of_rollout(rollout: Rollout, now_us: int) -> Iterator[Value]:
    """How long it has been in a state that may need a person; one aborted by a person does not."""
    since = max(now_us - rollout.moved_at_us, 0) / _SECOND_US
    by_person = rollout.state is RolloutState.ABORTED and rollout.why is Why.ABORTED
    for state in _WATCHED:
        there = rollout.state is state and not by_person
        labels = {"service": rollout.service, "state": state.value}
        yield "paddock_rollout_state_seconds", labels, since if there else 0.0


def of_automation(known: Sequence[Run]) -> Iterator[Value]:
    """Whether runs that started by themselves wait for a person; not once one has taken them."""
    for run in known:
        if run.actor == automations.actor(run.runbook):
            labels = {"runbook": run.runbook, "run": str(run.id)}
            if "service" in run.inputs:
                labels["service"] = run.inputs["service"]
            waits = run.state is RunState.WAITING and run.taken_by is None
            yield "paddock_automation_waiting", labels, float(waits)


def of_instances(known: Sequence[Process]) -> Iterator[Value]:
    """Whether instances answer; one that starts or stops as it should is neither up nor down."""
    for each in known:
        if not each.kind.is_instance or each.deployment is None:
            continue
        labels = {"deployment": each.deployment, "worker": each.name}
        if each.state is State.READY:
            yield "paddock_instance_up", labels, float(each.silent_since_us is None)
        elif each.state is State.CRASHED or (each.state is State.STARTING and each.restarts):
            yield "paddock_instance_up", labels, 0.0


def of_restarts(known: Sequence[Process]) -> Iterator[Value]:
    """How often each process was restarted since its node began."""
    for each in known:
        yield "paddock_process_restarts_total", {"process": each.name}, float(each.restarts)
