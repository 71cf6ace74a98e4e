"""Readiness: judged service by service, with the arms that cannot answer and why."""

from __future__ import annotations

import msgspec
import pytest

from engine.execution import failures, record
from engine.execution.answers import Answer
from engine.execution.execute import Executor
from engine.execution.snapshot import Snapshot
from engine.gateway import health
from storage.releases import Release
from storage.requests import Outcome
from tests.engine.backends.test_local import snapshot
from tests.engine.execution import jobs


class Judge:
    """A backend that cannot answer for some releases."""

    def __init__(self, *down: int) -> None:
        self.down = down

    def unready(self, release: Release) -> str | None:
        """Down."""
        return "it is down in /srv/models/x.gguf" if release.number in self.down else None


@pytest.mark.parametrize(
    ("down", "ready", "reasons"),
    [
        ((), True, {}),
        ((2,), True, {"r2": "it is down in x.gguf"}),
        ((1, 2), False, {"r1": "it is down in x.gguf", "r2": "it is down in x.gguf"}),
    ],
)
def test_a_service_is_ready_while_one_of_its_arms_is(
    down: tuple[int, ...], ready: bool, reasons: dict[str, str]
) -> None:
    """The body says which are not, without the places of files."""
    executor = Executor(
        {"local": Judge(*down)},  # type: ignore[dict-item]
        record=lambda *_: None,
        gaps=lambda *_: [],
        now_us=lambda: 0,
    )
    found = health.arms(snapshot(jobs.release(), jobs.release(number=2)), executor, lambda: 0)
    assert health.answers(found) is ready
    assert {arm.release: arm.reason for arm in found["ops"] if arm.reason} == reasons


def test_a_release_whose_requests_all_fail_is_not_ready_until_one_is_answered() -> None:
    """Its backend is as ready as ever; requests that are invalid or refused say nothing."""
    clock = [0]
    executor = Executor(
        {"local": Judge()},  # type: ignore[dict-item]
        record=lambda *_: None,
        gaps=lambda *_: [],
        now_us=lambda: clock[0],
    )
    fault = failures.Broken("NaN in /srv/models/x.gguf", code="model_fault")

    def end(outcome: Outcome, failure: failures.Failure | None = None) -> str:
        clock[0] += 2_000_000
        job = jobs.job()
        request = record.ended(
            job, Answer(job, []), failure, cancelled=False, ended_us=job.arrived_us + 1_000_000
        )
        request = msgspec.structs.replace(request, outcome=outcome, worker="ops-1.0.0:1")
        executor.ended(job, request, None, failure)
        (arm,) = health.arms(snapshot(jobs.release()), executor, lambda: 100_000_000)["ops"]
        assert (arm.evidence is not None) is bool(arm.reason)
        return arm.reason

    assert [end(Outcome.FAILED, fault), end(Outcome.FAILED, fault)] == ["", ""]
    assert end(Outcome.INVALID, failures.Invalid("no", code="x")) == ""
    assert end(Outcome.CANCELLED) == ""
    reason = "all of the last 3 requests failed, in 8 s; the last one: model_fault: NaN in x.gguf"
    assert end(Outcome.FAILED, fault) == reason
    (arm,) = health.arms(snapshot(jobs.release()), executor, lambda: 100_000_000)["ops"]
    assert arm.evidence == health.Failing(reason, 3, 92_000_000, "model_fault: NaN in x.gguf")
    assert list(executor.answering.instances(clock[0])) == ["ops-1.0.0:1"]
    assert end(Outcome.REFUSED, failures.Overloaded("full", code="queue_full")) != ""
    assert end(Outcome.OK) == ""
    assert executor.answering.instances(clock[0]) == {}


def test_without_a_service_nothing_is_ready() -> None:
    """There is nothing that could answer."""
    executor = Executor({}, record=lambda *_: None, gaps=lambda *_: [], now_us=lambda: 0)
    assert not health.answers(health.arms(Snapshot(), executor, lambda: 0))
