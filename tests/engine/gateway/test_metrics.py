"""The exposition stays as large as the box, however many releases it has seen."""

from __future__ import annotations

import re
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.backends.expected_starts import ExpectedStarts
from engine.backends.fleet import Fleet
from engine.execution.recorder import Recorder
from engine.gateway.http.admission import Admission
from engine.gateway.http.limits import Limits
from engine.gateway.http.refusals import Refusals
from engine.gateway.metrics import Metrics
from engine.gateway.remote_backends import Remotes
from engine.metering.windows import KEPT_S, Windows
from engine.prompting.renderer.pool import Renderer
from storage import exported_series, processes, samples
from storage import store as stores
from storage.home import clock
from storage.requests import Outcome, Request
from storage.samples import GpuSample, HostSample, InstanceSample, Kind, Sample
from tests.engine.control.alerts import promtool


def request(release: int, *, second: int, outcome: Outcome = Outcome.OK) -> Request:
    """One that ended in a second."""
    return Request(
        id="req_1", at_us=second * 1_000_000, service="ops", release=release,
        worker=f"ops-{release}:1", endpoint="/v1/completions", key_id=1, tenant="t",
        outcome=outcome, error_code=None if outcome is Outcome.OK else "engine_error",
    )  # fmt: skip


def of(store: stores.Store) -> Metrics:
    """The metrics of a gateway without workers."""
    return Metrics(
        Fleet(store.home, Windows(), Renderer(), now_us=clock.monotonic_us),
        Remotes(store.home, {}, ExpectedStarts(clock.monotonic_us)),
        Recorder(store),
        Admission(Limits(connections=8, per_address=8)),
        Refusals(),
        Refusals(),
        ready=lambda: True,
    )


async def test_series_of_an_arm_that_no_split_names_end_an_hour_after_its_last_request(
    store: stores.Store,
) -> None:
    """Those of an arm that is live stay, however long it has been quiet."""
    metrics = of(store)
    for release in range(1, 6):
        metrics.ended(request(release, second=1000))
        metrics.ended(request(release, second=1000, outcome=Outcome.FAILED))
    metrics.ended(request(2, second=1500))
    metrics.forget(1000 + KEPT_S, {("ops", 1)})
    assert await _releases(metrics, store) == {"r1", "r2", "r3", "r4", "r5"}
    metrics.forget(1001 + KEPT_S, {("ops", 1)})
    assert await _releases(metrics, store) == {"r1", "r2"}


async def measured(store: stores.Store) -> bytes:
    """The exposition of a box on which everything was measured once."""
    second = clock.now_us() // 1_000_000
    arm = {"service": "ops", "deployment": "ops-1", "instance": "ops-1:1"}
    instance = InstanceSample(
        running=1, waiting=2, oldest_waiting_us=3, kv_used_tokens=4, kv_total_tokens=5
    )
    found: list[tuple[Kind, str, Sample]] = [
        (Kind.HOST, "box", HostSample(
            cpu_percent=1, cores=2, memory_used=3, memory_total=4, disk_used=5, disk_total=6,
            load1=0,
        )),
        (Kind.GPU, "0", GpuSample(
            index=0, name="H", utilisation_percent=1, memory_used=2, memory_total=3, power_mw=4,
            power_limit_mw=5, temperature_c=6,
        )),
        (Kind.INSTANCE, arm["instance"], instance),
    ]  # fmt: skip

    async def work(s: stores.Session) -> None:
        await samples.record(s, second, found)
        await processes.declare(
            s, name=arm["instance"], kind=processes.Kind.WORKER, deployment=arm["deployment"],
            at_us=1,
        )  # fmt: skip
        await processes.move(s, arm["instance"], processes.State.READY, at_us=2)

    await store.write(work)
    metrics = of(store)
    metrics.ended(request(1, second=second))
    return await metrics.text(store)


# Series that are of control alone, or that have no value on this box.
ELSEWHERE = {
    "paddock_store_unwritten_seconds_total", "paddock_gpu_xid_errors_total", "paddock_feedback",
    "paddock_rollout_state_seconds", "paddock_evaluation_regressed", "paddock_cost_today",
    "paddock_cost_today_projected", "paddock_notification_oldest_seconds",
    "paddock_automation_waiting",
    "paddock_connections_refused_total", "paddock_requests_rejected_total",
    "paddock_budget_spent_ratio", "paddock_budget_state", "paddock_online_scores",
}  # fmt: skip


async def test_alert_rules_and_prometheus_have_the_same_series(store: stores.Store) -> None:
    """A rule that is exported finds in Prometheus the names and labels that it has here."""
    exposed: dict[str, set[str]] = {}
    for family in text_string_to_metric_families((await measured(store)).decode()):
        for sample in family.samples:
            exposed.setdefault(sample.name, set()).update(sample.labels)
    for name, labels in exported_series.SERIES.items():
        if name not in ELSEWHERE:
            assert set(labels) <= exposed[name], name


@pytest.mark.skipif(promtool.found() is None, reason=promtool.WHY_NOT)
async def test_promtool_finds_nothing_to_complain_of(store: stores.Store) -> None:
    """Names have units and suffixes as Prometheus asks, and every family has a help."""
    assert _complaints(await measured(store)) == ""


def _complaints(text: bytes) -> str:
    command = [str(promtool.found()), "check", "metrics"]
    return subprocess.run(command, input=text, capture_output=True, check=False).stderr.decode()


async def _releases(metrics: Metrics, store: stores.Store) -> set[str]:
    return set(re.findall(r'release="(r\d+)"', (await metrics.text(store)).decode()))
