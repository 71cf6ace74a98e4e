"""The exposition stays as large as the box, however many releases it has seen."""

from __future__ import annotations

import re
from pathlib import Path

from engine.backends.fleet import Fleet
from engine.execution.recorder import Recorder
from engine.gateway.http.admission import Admission
from engine.gateway.http.limits import Limits
from engine.gateway.http.refusals import Refusals
from engine.gateway.metrics import Metrics
from engine.gateway.remote_backends import Remotes
from engine.metering.windows import KEPT_S, Windows
from engine.prompting.renderer.pool import Renderer
from storage import store as stores
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.requests import Outcome, Request


def request(release: int, *, second: int, outcome: Outcome = Outcome.OK) -> Request:
    """One that ended in a second."""
    return Request(
        id="req_1", at_us=second * 1_000_000, service="ops", release=release,
        worker=f"ops-{release}:1", endpoint="/v1/completions", key_id=1, tenant="t",
        outcome=outcome, error_code=None if outcome is Outcome.OK else "engine_error",
    )  # fmt: skip


async def test_series_of_an_arm_that_no_split_names_end_an_hour_after_its_last_request(
    tmp_path: Path,
) -> None:
    """Those of an arm that is live stay, however long it has been quiet."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    metrics = Metrics(
        Fleet(store.home, Windows(), Renderer(), now_us=clock.monotonic_us),
        Remotes(store.home, {}),
        Recorder(store),
        Admission(Limits(connections=8, per_address=8)),
        Refusals(),
        Refusals(),
        ready=lambda: True,
    )
    try:
        for release in range(1, 6):
            metrics.ended(request(release, second=1000))
            metrics.ended(request(release, second=1000, outcome=Outcome.FAILED))
        metrics.ended(request(2, second=1500))
        metrics.forget(1000 + KEPT_S, {("ops", 1)})
        assert await _releases(metrics, store) == {"r1", "r2", "r3", "r4", "r5"}
        metrics.forget(1001 + KEPT_S, {("ops", 1)})
        assert await _releases(metrics, store) == {"r1", "r2"}
    finally:
        await store.close()


async def _releases(metrics: Metrics, store: stores.Store) -> set[str]:
    return set(re.findall(r'release="(r\d+)"', (await metrics.text(store)).decode()))
