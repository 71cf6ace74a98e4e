"""Screen, `paddock status`, probes and /metrics agree about the same requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import reader
from app.commands import status
from app.snapshot import Query
from engine.backends.expected_starts import ExpectedStarts
from engine.backends.fleet import Fleet
from engine.execution.recorder import Recorder
from engine.gateway.http.admission import Admission
from engine.gateway.http.limits import Limits
from engine.gateway.http.refusals import Refusals
from engine.gateway.metrics import Metrics
from engine.gateway.remote_backends import Remotes
from engine.metering.windows import Windows
from engine.prompting.renderer.pool import Renderer
from runbooks import probes
from storage import feedback, samples
from storage import store as stores
from storage.home import clock
from storage.home.paths import Home
from storage.requests import Outcome, Request
from storage.store import Session
from tests.app import populated_homes

pytestmark = pytest.mark.usefixtures("node")

ENDED = {Outcome.OK: 6, Outcome.FAILED: 2, Outcome.CANCELLED: 5, Outcome.REFUSED: 7}
RATE = 0.25
"""Two failed of eight that were executed."""


def requests() -> list[Request]:
    """Twenty requests that ended just now, on the first arm of the service of the scenes."""
    return [
        Request(
            id=f"req_{outcome}_{number}", service="support",
            at_us=populated_homes.NOW_US - 2_000_000,
            release=1, worker="ops-1.0.0:1", endpoint="/v1/completions", key_id=1, tenant="t",
            outcome=outcome, latency_us=1_000, ttft_us=100,
        )
        for outcome, count in ENDED.items()
        for number in range(count)
    ]  # fmt: skip


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A box whose gateway recorded those requests, samples and thumbs included."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    monkeypatch.setattr(clock, "now_us", lambda: populated_homes.NOW_US)
    store = await stores.open(home, now_us=lambda: populated_homes.NOW_US)
    await populated_homes.quiet(store)
    windows = Windows()
    for request in requests():
        windows.arm("support", 1).ended(request)
    rows = list(windows.close(populated_homes.NOW - 1, {("support", 1)}))

    async def work(s: Session) -> None:
        from storage import requests as recorded  # noqa: PLC0415 the name is taken here

        await recorded.record(s, requests())
        for second, *row in rows:
            await samples.record(s, second, [tuple(row)])  # type: ignore[list-item]
        for id, score in (("req_ok_0", 1), ("req_ok_1", -1)):
            await feedback.add(
                s, request_id=id, at_us=populated_homes.NOW_US, score=score, correct=None,
                comment=None, key_id=1,
            )  # fmt: skip

    await store.write(work)
    await store.close()
    return home


async def test_the_error_rate_is_the_same_everywhere(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Failed of executed: what was cancelled or refused dilutes it nowhere."""
    store = await stores.open(home, readonly=True)
    try:
        seen = await reader.Reader(home, store, now_us=clock.now_us).read(Query())
        async with store.read() as s:
            probed = await probes.PROBES["error_rate"](s, "support", 60, populated_homes.NOW)
        exposition = await _metrics(store)
    finally:
        await store.close()
    assert seen.pulse is not None
    assert seen.pulse.services[0].arms[0].errors == RATE
    assert probed == RATE
    await status.print_now(as_json=True)
    (service,) = json.loads(capsys.readouterr().out)["services"]
    assert service["arms"][0]["error_rate"] == RATE
    counted = {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == "paddock_requests_total"
    }
    assert counted["failed"] / (counted["ok"] + counted["failed"]) == RATE


async def test_thumbs_survive_a_restart_of_the_gateway(home: Home) -> None:
    """Read from the store: a gateway that saw only the change of a thumb counts it once."""
    store = await stores.open(home)
    try:
        await store.write(
            lambda s: feedback.add(
                s, request_id="req_ok_0", at_us=populated_homes.NOW_US, score=-1, correct=None,
                comment=None, key_id=1,
            )
        )  # fmt: skip
        exposition = await _metrics(store)
    finally:
        await store.close()
    thumbs = {
        sample.labels["thumb"]: sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == "paddock_feedback"
    }
    assert thumbs == {"up": 0, "down": 2}


async def _metrics(store: stores.Store) -> str:
    """What a gateway exposes that has just answered those requests."""
    home = store.home
    fleet = Fleet(home, Windows(), Renderer(), now_us=clock.monotonic_us)
    metrics = Metrics(
        fleet,
        Remotes(home, {}, ExpectedStarts(clock.monotonic_us)),
        Recorder(store),
        Admission(Limits(connections=8, per_address=8)),
        Refusals(),
        Refusals(),
        ready=lambda: True,
    )
    for request in requests():
        metrics.ended(request)
    return (await metrics.text(store)).decode()
