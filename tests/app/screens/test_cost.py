"""The place of costs: the bill of today by what is chosen, idle apart, and the budgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import reader
from app.figures import cost
from app.snapshot import Node, Query
from storage import box_usage, budgets, ledger, prices, usage
from storage import store as stores
from storage.budgets import Budget, Period, Scope
from storage.home import config
from storage.home.paths import Home
from storage.prices import GPU_HOUR, QUARTER_S
from storage.store import Session, Store
from tests.app import pilot, populated_homes, store_facts
from tests.storage import fixtures

pytestmark = pytest.mark.usefixtures("node")

QUARTER: int = populated_homes.NOW // QUARTER_S * QUARTER_S


def used(tenant: str, release: int, busy_us: int) -> usage.UsageRow:
    """Usage of this quarter hour; a service may be called idle."""
    row = usage.Usage(
        quarter_s=QUARTER, service="idle", release=release, tenant=tenant, key_id=1,
        deployment="ops", requests=2, prompt_tokens=600, completion_tokens=400, busy_us=busy_us,
    )  # fmt: skip
    return usage.UsageRow(**{name: getattr(row, name) for name in row.__struct_fields__})


async def scene(store: Store) -> None:
    """A minute of one device at 3600 an hour: 30 s for one tenant, 15 s for another."""
    await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await populated_homes.node(s)
        await populated_homes.key(s, "shop", synthetic=False)
        s.add(used("acme", 1, 30_000_000))
        s.add(used("beta", 2, 15_000_000))
        s.add(
            box_usage.BoxUsageRow(
                quarter_s=QUARTER, devices=1, device_us=60_000_000, work_mj=None, idle_mj=None
            )
        )
        await prices.set(
            s, subject=GPU_HOUR, from_s=0, currency=None, micro=3_600_000_000,
            settings=config.Price(), actor="kim", at_us=1,
        )  # fmt: skip
        limit = Budget(
            scope=Scope.TENANT, subject="acme", period=Period.DAY, limit_micro=32_000_000
        )
        await budgets.set(s, limit, actor="kim", at_us=1)

    await store.write(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with those."""
    return populated_homes.make(tmp_path / "home", scene)


async def test_the_bill_is_shown_by_what_is_chosen_with_idle_apart(home: Home) -> None:
    """Its rows add up to the total; the day's end and the budgets are beside it."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("dollar_sign")
        rows = screen.text.split("\n")
        assert "60.00 so far" in rows[1]
        assert [row.lstrip(" ▸").split()[0] for row in rows[3:6]] == ["idle", "idle", "total"]
        assert "45.00" in rows[3]
        assert "15.00" in rows[4]
        assert "60.00" in rows[5]
        assert "30.00 of 32.00  ▲ warned" in screen.text
        assert max(len(row) for row in rows) <= 80
        await screen.press("right", "right")
        await screen.until(lambda: "TENANT" in screen.text)
        shown = [row.lstrip(" ▸").split()[0] for row in screen.text.split("\n")[3:7]]
        assert shown == ["acme", "beta", "idle", "total"]
        await screen.press("y")
        assert "Copied paddock cost --by tenant" in screen.said


async def test_a_month_is_read_once_a_minute_and_when_a_budget_has_changed(home: Home) -> None:
    """A budget by the month needs all of it; the bill of the day is five seconds old at most."""
    facts = store_facts.facts(Node.UP, records={})
    facts.now_us = populated_homes.NOW_US
    store = await stores.open(home)
    try:
        async with store.read() as s:
            first = await cost.read(s, "service", facts)
            assert await cost.read(s, "service", facts) is first
            facts.now_us += 6_000_000
            second = await cost.read(s, "service", facts)
            assert second is not first
            assert second.budgets is first.budgets
            facts.entries = await ledger.tail(s, limit=1)
            facts.now_us += 6_000_000
            third = await cost.read(s, "service", facts)
            assert third.budgets is not first.budgets
    finally:
        await store.close()


async def test_a_box_without_prices_says_what_is_missing(quiet_home: Home) -> None:
    """And shows no zeros."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        await screen.go("dollar_sign")
        assert "– so far, – by its end" in screen.text
        assert "`paddock budgets set key NAME 10` sets one" in screen.text


async def test_a_budget_by_the_month_is_counted_after_the_place_has_opened(home: Home) -> None:
    """Its month may have a hundred thousand rows; the first look says that it is being counted."""
    store = await stores.open(home)
    monthly = Budget(
        scope=Scope.TENANT, subject="acme", period=Period.MONTH, limit_micro=300_000_000
    )
    now_us = [populated_homes.NOW_US]
    source = reader.Reader(home, store, now_us=lambda: now_us[0])
    try:
        await store.write(lambda s: budgets.set(s, monthly, actor="kim", at_us=1))
        states = []
        for _ in range(2):
            seen = (await source.read(Query(place="cost"))).cost
            assert seen is not None
            states.append([(row.name, row.state) for row in seen.budgets])
            now_us[0] += 6_000_000
    finally:
        await source.close()
        await store.close()
    assert states[0][-1] == ("tenant/acme month", "being counted")
    assert ("tenant/acme month", "within") in states[1]
