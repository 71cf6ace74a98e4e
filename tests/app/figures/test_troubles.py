"""What counts as trouble, in which order, and what is said of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app import snapshot
from app.figures import load, troubles
from app.liveness import Answers, Readiness, Unable
from app.snapshot import Node
from storage import services
from storage.processes import Kind, Process, State
from storage.samples import ArmSample, GatewaySample, GpuSample, HostSample, InstanceSample
from storage.splits import Arm, Split
from tests.app import populated_homes, store_facts

NOW, NOW_US, SECOND = populated_homes.NOW, populated_homes.NOW_US, populated_homes.SECOND_US
SARA = snapshot.Person(name="sara", role="operator")


def process(name: str, kind: Kind = Kind.WORKER, **changes: Any) -> Process:
    """A process that has been ready for an hour."""
    deployment = name.partition(":")[0] if kind is Kind.WORKER else None
    ready = Process(
        name=name, kind=kind, deployment=deployment, pid=4, state=State.READY, reason=None,
        started_at_us=NOW_US - 3_600 * SECOND, restarts=0, model_version_id=None, sha256=None,
        build=None,
    )  # fmt: skip
    return msgspec.structs.replace(ready, **changes)


SUPPORT = services.Service(
    name="support", version=3, record_text=False, owner=None, frozen=None, created_at_us=1,
    created_by="sara",
    split=Split(
        id=1, service="support", salt="", set_at_us=1, set_by="sara", intent_id=None,
        arms=(Arm(release=1, weight_bp=9_000), Arm(release=2, weight_bp=1_000)),
    ),
)  # fmt: skip


def found(
    node: Node = Node.UP, readiness: Readiness | None = None, unwritten: str = "", **changes: Any
) -> list[str]:
    """The sentences about a box."""
    measured = {name: changes.pop(name, {}) for name in ("gpus", "instances", "arms")}
    gateway, hosts = changes.pop("gateway", {}), changes.pop("hosts", {})
    facts = store_facts.facts(node, records=changes, **measured)
    facts.recent.gateway, facts.recent.hosts = gateway, hosts
    facts.answers = Answers(
        node=node, person=SARA, unwritten=unwritten, gateway=readiness or Readiness()
    )
    return [each.sentence for each in troubles.troubles(facts)]


def test_a_box_on_which_all_is_well_has_none() -> None:
    """Neither processes that run nor requests that are answered are trouble."""
    arm = {NOW - 3: store_facts.second(ArmSample(requests=9, ok=9))}
    assert found(processes=[process("ops-1.0.0:1")], arms={"support/r1": arm}) == []


def test_a_silent_worker_is_trouble_with_its_duration() -> None:
    """And its last sample is not taken for what it does now."""
    hung = process(
        "ops-1.0.0:1", silent_since_us=NOW_US - 4 * SECOND, reason="its heartbeats stopped"
    )
    said = "ops-1.0.0:1 has given no sign of life for 4 s: its heartbeats stopped."
    assert found(processes=[hung]) == [said]


@pytest.mark.parametrize(
    "changes",
    [{"state": State.CRASHED}, {"state": State.STARTING}, {"silent_since_us": NOW_US - SECOND}],
)
def test_the_last_sample_of_an_instance_that_does_not_run_is_not_current(
    changes: dict[str, Any],
) -> None:
    """A dash: what a dead worker did is no news of what it does."""
    sample = {NOW: InstanceSample(running=6, waiting=2, max_running=16)}
    facts = store_facts.facts(instances={"ops-1.0.0:1": sample})
    facts.processes = [process("ops-1.0.0:1")]
    assert load.loads(facts)["ops-1.0.0:1"].running == 6
    facts.processes = [process("ops-1.0.0:1", **changes)]
    assert load.loads(facts) == {}
    assert load.together(facts) is None


def test_requests_that_the_gateway_holds_are_in_the_queue_and_say_what_they_wait_for() -> None:
    """For as long as it has held any without a break."""
    rows = {
        NOW - 6: GatewaySample(held=1, connections=1),
        NOW - 5: GatewaySample(held=0, connections=0),
        NOW - 4: GatewaySample(held=2, connections=2),
        NOW: GatewaySample(held=5, connections=5),
    }
    loading = process("ops-1.0.0:1", state=State.STARTING)
    assert found(gateway=rows, processes=[loading]) == [
        "5 requests in the gateway, held for 4 s: waiting for ops-1.0.0 (starting)."
    ]
    facts = store_facts.facts()
    facts.recent.gateway = rows
    now = load.together(facts)
    assert now is not None
    assert (now.waiting, now.held) == (5, 5)
    assert now.max_running is None, "of no instance it is known how many it can run"
    assert found(gateway={NOW - 4: GatewaySample(held=0, connections=3)}) == []


def test_a_service_without_an_arm_that_can_answer_comes_before_one_with_some() -> None:
    """The reasons are those of /readyz."""
    other = msgspec.structs.replace(SUPPORT, name="ops")
    silent = "ops-1.0.0 computed nothing for 11 s although requests wait"
    readiness = Readiness(
        unable=(
            Unable(service="ops", release="r2", reason="its file is missing"),
            Unable(service="support", release="r1", reason=silent),
            Unable(service="support", release="r2", reason=silent),
        )
    )
    assert found(readiness=readiness, services=[other, SUPPORT]) == [
        f"support cannot answer: {silent}.",
        "r2 of ops cannot answer: its file is missing.",
    ]


def test_a_gateway_or_a_service_that_answers_nothing_takes_the_word_live() -> None:
    """One arm of two, or a worker among several, does not."""
    reason = "its file is missing"
    one = Unable(service="support", release="r1", reason=reason)
    both = (one, Unable(service="support", release="r2", reason=reason))
    for readiness, unanswered in (
        (Readiness(silence="it accepts no connection"), True),
        (Readiness(unable=both), True),
        (Readiness(unable=(one,)), False),
    ):
        facts = store_facts.facts(Node.UP, records={"services": [SUPPORT]})
        facts.answers = Answers(node=Node.UP, person=SARA, unwritten="", gateway=readiness)
        (trouble,) = troubles.troubles(facts)
        assert trouble.unanswered is unanswered


def test_the_worst_comes_first() -> None:
    """What stops everything, then what stops a service, an instance; what may stop it soon last."""
    host = HostSample(
        cpu_percent=1, cores=2, memory_used=1, memory_total=100, disk_used=97, disk_total=100,
        load1=1.0,
    )  # fmt: skip
    gpu = GpuSample(
        index=0, name="x", utilisation_percent=1, memory_used=1, memory_total=2, power_mw=None,
        power_limit_mw=None, temperature_c=90, throttle=("thermal, hardware",),
    )  # fmt: skip
    seen = found(
        Node.SILENT,
        Readiness(silence="it gave no answer for 1 s"),
        "The disk is full.",
        processes=[
            process("gateway", Kind.GATEWAY),
            process("ops-1.0.0:1", restarts=2, started_at_us=NOW_US - 9 * SECOND),
            process("control", Kind.CONTROL, state=State.CRASHED, reason="killed by SIGKILL"),
        ],
        hosts={NOW: host},
        gpus={0: {NOW: gpu}},
        config_problem="config.toml is not TOML.",
    )
    assert seen == [
        "The node runs and does not answer; nothing is supervised and nothing can be changed.",
        "Nothing can be stored: The disk is full.",
        "The gateway does not answer clients: it gave no answer for 1 s.",
        "control crashed: killed by SIGKILL.",
        "The disk is 97% full: 3 B left.",
        "GPU 0 is throttled: thermal, hardware.",
        "config.toml is not TOML. Defaults are shown.",
        "ops-1.0.0:1 was restarted 9 s ago, 2 times in all; it is ready.",
    ]
    assert found(Node.DOWN, Readiness(silence="it accepts no connection"))[0].startswith("The node")


@pytest.mark.parametrize(
    ("failed", "ok", "trouble"),
    [(2, 0, False), (3, 0, True), (3, 60, False), (8, 60, True), (1, 0, False)],
)
def test_failures_are_trouble_once_they_prove_something(
    failed: int, ok: int, trouble: bool
) -> None:
    """Three at least, and an error rate that is certainly above 5 %."""
    sample = ArmSample(requests=failed + ok, ok=ok, failed=failed)
    seen = found(arms={"support/r2": {NOW - 1: store_facts.second(sample)}})
    assert bool(seen) == trouble
    if trouble:
        all_ = f"{failed + ok} requests"
        assert seen == [f"{failed} of {all_} to support/r2 failed in the last 30 s."]
    old = {"support/r2": {NOW - 31: store_facts.second(sample)}}
    assert found(arms=old) == []


def test_requests_that_wait_too_long_are_trouble() -> None:
    """A queue as such is not."""
    sample = InstanceSample(running=16, waiting=12, max_running=16, oldest_waiting_us=14 * SECOND)
    short = msgspec.structs.replace(sample, oldest_waiting_us=9 * SECOND)
    assert found(instances={"ops-1.0.0:1": {NOW: short}}) == []
    assert found(instances={"ops-1.0.0:1": {NOW: sample}}) == [
        "12 requests in the queue of ops-1.0.0, the oldest for 14 s."
    ]


def test_a_burst_of_requests_without_a_valid_key_takes_the_word_live() -> None:
    """After a reset of the keys no arm fails, and nobody gets an answer any more."""
    codes = {"missing_api_key": 3, "invalid_api_key": 34}
    before = {NOW - 6: store_facts.second(ArmSample(requests=63, ok=63))}
    facts = store_facts.facts(records={"services": [SUPPORT]}, arms={"support/r1": before})
    facts.recent.gateway = {NOW - 1: GatewaySample(held=0, connections=4, rejected=codes)}
    facts.answers = Answers(node=Node.UP, person=SARA)
    (trouble,) = troubles.troubles(facts)
    assert trouble.unanswered
    assert trouble.brief == "37 without a valid key"
    assert trouble.sentence == (
        "37 of 100 requests in the last 30 s had no valid key; `paddock keys list` shows the keys."
    )


def test_rejected_requests_are_trouble_once_they_are_certainly_many() -> None:
    """Of all that were answered; one client that has mistyped a name is none."""
    ok = {NOW - 3: store_facts.second(ArmSample(requests=400, ok=400))}
    for count, said in ((20, []), (60, ["60 of 460 requests in the last 30 s were rejected: x."])):
        row = GatewaySample(held=0, connections=1, rejected={"x": count})
        assert found(gateway={NOW: row}, arms={"support/r1": ok}) == said
    old = GatewaySample(held=0, connections=1, rejected={"x": 60})
    assert found(gateway={NOW - 31: old}) == []
