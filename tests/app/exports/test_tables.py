"""Exported tables have the figures that screens and commands show, a row for each thing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app import errors
from app.exports import tables
from app.exports.tables import Range, What
from storage import alerts, rollup_rows, rollups, samples, usage
from storage import store as stores
from storage.home import config
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Session, Store
from tests.app import populated_homes
from tests.app.populated_homes import NOW

HOUR = Range(begin_s=NOW - 3_600, end_s=NOW + 1)


async def _read(store: Store, what: What, of: Range = HOUR) -> list[dict[str, Any]]:
    names = [field.name for field in tables.fields(what)]
    found = tables.rows(store, what, of, config.Price())
    return [dict(zip(names, row, strict=True)) async for row in found]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home without a store."""
    return homes.make(Home(tmp_path / "home"))


@pytest.fixture(scope="module")
def exported(busy_home: Home) -> dict[What, list[dict[str, Any]]]:
    """All tables of the last hour of a busy box."""

    async def work() -> dict[What, list[dict[str, Any]]]:
        store = await stores.open(busy_home, readonly=True)
        try:
            return {what: await _read(store, what) for what in What}
        finally:
            await store.close()

    return asyncio.run(work())


def test_cells_have_the_types_of_their_columns(exported: dict[What, list[dict[str, Any]]]) -> None:
    """Or they are None, where nothing was measured."""
    for what, rows in exported.items():
        types = {field.name: field.type for field in tables.fields(what)}
        for row in rows:
            for name, cell in row.items():
                assert cell is None or type(cell) is types[name], (what, name, cell)


def test_samples_are_exported_second_by_second(exported: dict[What, list[dict[str, Any]]]) -> None:
    """With units in the names of the columns."""
    host = exported[What.HOST]
    assert len(host) == 180
    assert [row["second_s"] for row in host] == sorted(row["second_s"] for row in host)
    assert host[0]["memory_used_bytes"] == 61 * 2**30
    (gpu, *_), (instance, *_) = exported[What.GPU], exported[What.INSTANCE]
    assert (gpu["gpu"], gpu["power_mw"], gpu["temperature_c"]) == ("0", 412_000, 71)
    assert json.loads(gpu["throttle_json"]) == []
    assert instance["instance"] == "ops-1.0.0:1"
    assert instance["kv_total_tokens"] == 16_384


def test_figures_of_a_step_add_up(exported: dict[What, list[dict[str, Any]]]) -> None:
    """Arms to their service; the minutes to all requests."""
    arms, services = exported[What.ARMS], exported[What.SERVICES]
    assert {row["subject"] for row in arms} == {"support/r1", "support/r2"}
    assert {row["step_s"] for row in arms} == {60}
    for row in services:
        parts = [arm for arm in arms if arm["begin_s"] == row["begin_s"]]
        assert sum(arm["requests"] for arm in parts) == row["requests"]
        assert row["latency_p95_us"] is not None
    assert {"error_rate_ratio", "ttft_p50_us", "prompt_tokens"} <= arms[0].keys()


def test_requests_are_exported_without_texts(exported: dict[What, list[dict[str, Any]]]) -> None:
    """Nor with what their users are told apart by."""
    rows = exported[What.REQUESTS]
    assert len(rows) == 60
    assert not {"prompt", "completion", "text", "unit", "seed"} & rows[0].keys()
    assert rows[0]["class"] == "interactive"
    assert rows[0]["stream"] is True


async def test_pages_and_stretches_give_each_row_once(
    busy_home: Home, monkeypatch: pytest.MonkeyPatch, exported: dict[What, list[dict[str, Any]]]
) -> None:
    """However few are read at once."""
    monkeypatch.setattr(tables, "_PAGE", 7)
    monkeypatch.setattr(tables, "_STRETCH_S", 11)
    store = await stores.open(busy_home, readonly=True)
    try:
        assert await _read(store, What.REQUESTS) == exported[What.REQUESTS]
        assert await _read(store, What.HOST) == exported[What.HOST]
        other = Range(begin_s=HOUR.begin_s, end_s=HOUR.end_s, service="none")
        assert await _read(store, What.REQUESTS, other) == []
    finally:
        await store.close()


async def test_alerts_that_were_active_in_the_range_are_exported(home: Home) -> None:
    """Also those that began before it; those that ended before are left out."""
    store = await stores.open(home)

    async def work(s: Session) -> None:
        for service, state in (("a", alerts.State.FIRING), ("b", alerts.State.PENDING)):
            await alerts.begin(
                s, rule="errors", rule_version=1, labels={"service": service},
                severity=alerts.Severity.CRITICAL, summary="3 % fail", runbook=None, state=state,
                value=0.03, clock_us=1, at_us=(HOUR.begin_s - 60) * 1_000_000,
            )  # fmt: skip
        await alerts.move(
            s, await alerts.find(s, 2), alerts.State.INACTIVE, why=alerts.Why.UNMET,
            at_us=(HOUR.begin_s - 30) * 1_000_000,
        )  # fmt: skip

    try:
        await store.write(work)
        (row,) = await _read(store, What.ALERTS)
    finally:
        await store.close()
    assert (row["rule"], row["state"], row["severity"]) == ("errors", "firing", "critical")
    assert json.loads(row["labels_json"]) == {"service": "a"}


async def test_costs_are_exported_by_the_quarter_hour(home: Home) -> None:
    """With their price, or with none where nothing is priced."""
    store = await stores.open(home)
    asked = [populated_homes.ended(number) for number in (5, 6, 7)]
    price = config.Price(gpu_hour_micro=3_600_000_000)
    names = [field.name for field in tables.fields(What.COSTS)]
    try:
        await store.write(lambda s: usage.record(s, asked))
        (row,) = await _read(store, What.COSTS)
        found = tables.rows(store, What.COSTS, HOUR, price)
        priced = [dict(zip(names, cells, strict=True)) async for cells in found]
    finally:
        await store.close()
    assert (row["service"], row["requests"], row["cost_micro"]) == ("support", 3, None)
    assert row["quarter_s"] % 900 == 0
    served, idle = priced
    assert (served["busy_us"], served["cost_micro"], served["currency"]) == (
        930_000,
        930_000,
        "USD",
    )
    assert (idle["service"], idle["requests"], idle["cost_micro"]) == (None, None, 0)


async def test_a_step_finer_than_what_is_left_is_refused(home: Home) -> None:
    """Each minute would have the requests of its whole hour; the step to take is named."""
    store = await stores.open(home)
    day = NOW // 86_400 * 86_400

    async def work(s: Session) -> None:
        arm = samples.ArmSample(requests=1, ok=1)
        await samples.record(s, day + 3_605, [(samples.Kind.ARM, "support/r1", arm)])
        while await rollups.roll(s, day + 86_400):
            pass
        await rollup_rows.set_mark(s, seconds_from_s=day + 80_000, minutes_from_s=day + 72_000)

    try:
        await store.write(work)
        for step, known in ((60, "--step 1h"), (90, "--step 1h")):
            with pytest.raises(errors.BadWord, match=known):
                await _read(store, What.ARMS, Range(begin_s=day, end_s=day + 86_400, step_s=step))
        hourly = Range(begin_s=day, end_s=day + 86_400, step_s=3_600)
        (row,) = await _read(store, What.ARMS, hourly)
        assert (row["begin_s"], row["requests"]) == (day + 3_600, 1.0)
    finally:
        await store.close()
