"""What the store says of instances, upstreams and rollouts, as series for alert rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.metering import series_of_state
from engine.metering.series_of_samples import Value
from storage import runs
from storage.processes import Kind, Process, State
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE


def process(state: State, **changes: Any) -> Process:
    """An instance."""
    return Process(
        name="ops:1", kind=Kind.WORKER, deployment="ops", pid=1, state=state, reason=None,
        started_at_us=1, restarts=changes.pop("restarts", 0), model_version_id=None, sha256=None,
        build=None, **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "up"),
    [
        (process(State.READY), [1.0]),
        (process(State.READY, silent_since_us=5), [0.0]),
        (process(State.CRASHED), [0.0]),
        (process(State.STARTING, restarts=1), [0.0]),
        (process(State.STARTING), []),
        (process(State.DRAINING), []),
        (process(State.STOPPED), []),
    ],
)
def test_an_instance_that_starts_or_stops_as_it_should_is_neither_up_nor_down(
    seen: Process, up: list[float]
) -> None:
    """A large model that loads for ten minutes is not an outage; one that crashed meanwhile is."""
    assert [value for _, _, value in series_of_state.of_instances([seen])] == up


def test_a_run_that_started_by_itself_calls_until_a_person_takes_it() -> None:
    """One that a person started calls no one, and one that has ended resolves the alert."""

    def found(**changes: Any) -> list[Value]:
        fields = {
            "actor": "automation slow", "state": runs.State.WAITING,
            "inputs": {"service": "support"}, **changes,
        }  # fmt: skip
        run = runs.Run(
            id=7, runbook="slow", intent_id=1, reason=None, began_at_us=1, ended_at_us=None,
            content=None, **fields,
        )  # fmt: skip
        return [*series_of_state.of_automation([run])]

    def values(**changes: Any) -> list[float]:
        return [value for _, _, value in found(**changes)]

    ((name, labels, value),) = found()
    assert (name, value) == ("paddock_automation_waiting", 1.0)
    assert labels == {"runbook": "slow", "run": "7", "service": "support"}
    ((_, bare, _),) = found(inputs={})
    assert "service" not in bare  # an alert about a service that there is not would end
    assert values(taken_by="kim") == [0.0]
    assert values(state=runs.State.RUNNING) == [0.0]
    assert values(state=runs.State.ABORTED) == [0.0]
    assert values(actor="kim") == []


def states(values: list[Value]) -> dict[str, float]:
    """How long the rollout has been in which states."""
    return {
        labels["state"]: value
        for name, labels, value in values
        if name == "paddock_rollout_state_seconds" and value
    }


async def test_a_rollout_that_control_aborted_is_news_and_one_of_a_person_is_not(
    tmp_path: Path,
) -> None:
    """Somebody who aborts one need not be alerted to it."""
    async with worlds.made(tmp_path / "home") as world:
        for by_person in (True, False):
            await world.start()
            if by_person:
                await world.ask("rollouts.abort", rollout=1)
            else:
                await world.load(CANDIDATE)
                await world.settle()
                await world.smoke(answered=False)
                await world.settle()
            world.wait(90)
            async with world.store.read() as s:
                found = states(await series_of_state.values(s, world.now_us))
            assert found == ({} if by_person else {"aborted": 90.0})
