"""Costs: whatever was used, at whatever price, the parts add up to the bill to the micro-unit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import costs, spending
from storage.box_usage import BoxUsage
from storage.costs import Bill
from storage.home import config
from storage.prices import GPU_HOUR, KWH, QUARTER_S, Price, PriceList, Prices
from storage.tallies import Tally
from storage.usage import Usage

BEGIN = 1_800_000_000 // QUARTER_S * QUARTER_S
HOUR_US = 3_600_000_000
CONFIG = config.Price()
SERVES = {3: ("cloud", "big"), 4: ("cloud", "small")}


def used(quarter: int = 0, release: int = 1, **changes: object) -> Usage:
    """Some usage of a quarter hour."""
    told = {
        "quarter_s": BEGIN + quarter * QUARTER_S, "service": "ops", "release": release,
        "tenant": "t", "key_id": 1, "deployment": "ops", "requests": 1, "completion_tokens": 10,
    } | changes  # fmt: skip
    return Usage(**told)  # type: ignore[arg-type]


def box(quarter: int = 0, seconds: int = 900, **changes: object) -> BoxUsage:
    """A quarter hour of one device."""
    told = {
        "quarter_s": BEGIN + quarter * QUARTER_S, "devices": 1, "device_us": seconds * 1_000_000,
    } | changes  # fmt: skip
    return BoxUsage(**told)  # type: ignore[arg-type]


def price(subject: str, from_s: int = 0, **figures: int | None) -> Price:
    """A price."""
    return Price(id=from_s + 1, subject=subject, from_s=from_s, currency="EUR", **figures)  # type: ignore[arg-type]


def listed(*prices: Price) -> PriceList:
    """A list of them."""
    return PriceList(prices, CONFIG)


GPU = price(GPU_HOUR, micro=4_000_000)


def by_release(row: Usage) -> str:
    """A line for each release."""
    return f"r{row.release}"


@given(
    total=st.integers(0, 10**18),
    weights=st.lists(st.integers(0, 10**12), max_size=12),
)
def test_what_is_divided_adds_up_and_is_never_a_unit_off(total: int, weights: list[int]) -> None:
    """Each part is its exact share rounded up or down, and what weighs nothing gets nothing."""
    parts = costs.divide(total, weights)
    assert sum(parts) == (total if weights else 0)
    for part, weight in zip(parts, weights, strict=True):
        if sum(weights):
            exact = total * weight // sum(weights)
            assert part in ({exact, exact + 1} if weight else {0})


rows = st.lists(
    st.builds(
        used,
        quarter=st.integers(0, 3),
        release=st.integers(1, 4),
        tenant=st.sampled_from("ab"),
        key_id=st.integers(1, 3),
        busy_us=st.integers(0, 10**9),
        prompt_tokens=st.integers(0, 10**6),
        completion_tokens=st.integers(0, 10**6),
    ),
    max_size=12,
)
boxes = st.lists(
    st.builds(
        box,
        quarter=st.integers(0, 3),
        seconds=st.integers(0, 1800),
        work_mj=st.integers(0, 10**9),
        idle_mj=st.integers(0, 10**9),
    ),
    max_size=4,
    unique_by=lambda each: each.quarter_s,
)
micro = st.none() | st.integers(0, 10**9)


@given(rows=rows, boxes=boxes, gpu=micro, later=micro, kwh=micro, tokens=micro)
def test_the_parts_add_up_to_the_bill_to_the_micro_unit(
    rows: Sequence[Usage],
    boxes: Sequence[BoxUsage],
    gpu: int | None,
    later: int | None,
    kwh: int | None,
    tokens: int | None,
) -> None:
    """By any grouping, across a change of price, with idle time and what has no price."""
    known = listed(
        price(GPU_HOUR, micro=gpu),
        price(GPU_HOUR, BEGIN + QUARTER_S, micro=later),
        price(KWH, micro=kwh),
        price("cloud/big", input_micro=tokens, output_micro=tokens),
    )
    bill = costs.bill(rows, boxes, known, SERVES)
    charged = sum(charge.pico or 0 for charge in bill.charges)
    assert bill.pico == charged + sum(each.pico for each in bill.idle)
    for group in (by_release, lambda row: row.tenant, lambda row: str(row.quarter_s)):
        lines = costs.lines(bill, group)
        assert sum(line.micro or 0 for line in lines) == bill.micro
        assert sum(line.requests for line in lines) == sum(row.requests for row in rows)
    alone = [bill_of(quarter, rows, boxes, known) for quarter in range(4)]
    assert sum(each.pico for each in alone) == bill.pico


def bill_of(
    quarter: int, rows: Sequence[Usage], boxes: Sequence[BoxUsage], known: PriceList
) -> Bill:
    """The bill of one quarter hour."""
    at = BEGIN + quarter * QUARTER_S
    return costs.bill(
        [row for row in rows if row.quarter_s == at],
        [each for each in boxes if each.quarter_s == at],
        known,
        SERVES,
    )


def test_idle_time_is_shown_apart_and_never_spread() -> None:
    """A quarter of a GPU-hour, of which a request took a third."""
    bill = costs.bill([used(busy_us=300_000_000)], [box()], listed(GPU), {})
    (line, idle) = costs.lines(bill, by_release)
    assert (line.micro, idle.name, idle.micro, bill.micro) == (333_333, None, 666_667, 1_000_000)
    assert line.kilo_micro == 33_333_300


def test_workers_side_by_side_on_a_device_share_its_price() -> None:
    """Thirty minutes of computing in a quarter hour of one device cost the quarter hour."""
    rows = [used(busy_us=900_000_000), used(release=2, busy_us=900_000_000)]
    bill = costs.bill(rows, [box()], listed(GPU), {})
    assert [line.micro for line in costs.lines(bill, by_release)] == [500_000, 500_000, 0]


def test_energy_is_split_as_it_was_measured() -> None:
    """What the GPUs used while they computed is the requests', by computing time."""
    rows = [used(busy_us=100_000_000), used(release=2, busy_us=300_000_000)]
    measured = box(work_mj=3_600_000_000, idle_mj=1_800_000_000)
    prices = listed(price(GPU_HOUR, micro=0), price(KWH, micro=200_000))
    bill = costs.bill(rows, [measured], prices, {})
    assert [line.micro for line in costs.lines(bill, by_release)] == [50_000, 150_000, 100_000]
    assert (bill.energy_pico, bill.missing) == (300_000 * costs.PICO, ())


def test_an_upstream_is_priced_by_its_tokens() -> None:
    """Of the model, else of the upstream; tokens that it had in its cache have their own price."""
    prices = listed(
        price("cloud", input_micro=1_000_000, output_micro=2_000_000),
        price("cloud/big", input_micro=2_000_000, output_micro=8_000_000, cached_micro=500_000),
    )
    rows = [
        used(release=3, prompt_tokens=1_000, cached_tokens=400, completion_tokens=100),
        used(release=4, prompt_tokens=1_000, cached_tokens=400, completion_tokens=100),
    ]
    bill = costs.bill(rows, [], prices, SERVES)
    micro_units = [line.micro for line in costs.lines(bill, by_release)]
    assert micro_units[:2] == [600 * 2 + 400 // 2 + 100 * 8, 1_000 + 200]


def test_a_missing_price_is_said_and_never_zero() -> None:
    """Each with what it would price; what has a price is shown beside it."""
    rows = [used(busy_us=5), used(release=3, prompt_tokens=1_000_000), used(release=4)]
    prices = listed(price("cloud/big", input_micro=7, output_micro=0))
    bill = costs.bill(rows, [box(work_mj=1, idle_mj=1)], prices, SERVES)
    assert bill.missing == ("no price of a GPU-hour", "no price of cloud/small")
    assert [(line.name, line.micro, line.unpriced) for line in costs.lines(bill, by_release)] == [
        ("r1", None, 1), ("r3", 7, 0), ("r4", None, 1),
    ]  # fmt: skip
    prices = listed(GPU)
    rows = [used(busy_us=0, deployment="vllm")]
    assert costs.bill(rows, [box(work_mj=1, idle_mj=1)], prices, {}).missing == (
        "no price of a kWh", "vllm does not report its computing time",
    )  # fmt: skip
    prices = listed(GPU, price(KWH, micro=1))
    assert costs.bill([], [box()], prices, {}).missing == ("the energy was not measured",)
    assert not costs.bill([used(busy_us=5)], [], listed(), {}).priced


def test_a_price_is_in_force_until_a_later_one() -> None:
    """Also one that was set afterwards for a time in the past; unset, there is none."""
    first = Price(id=1, subject=GPU_HOUR, from_s=BEGIN, currency="EUR", micro=1)
    again = Price(id=3, subject=GPU_HOUR, from_s=BEGIN, currency="EUR", micro=2)
    ended = Price(id=2, subject=GPU_HOUR, from_s=BEGIN + 900, currency="EUR")
    known = listed(first, again, ended)
    found = [known.at(at).gpu_hour_micro for at in (BEGIN - 1, BEGIN, BEGIN + 899, BEGIN + 900)]
    assert found == [None, 2, 2, None]
    assert PriceList([], config.Price(gpu_hour_micro=5)).at(0).gpu_hour_micro == 5
    assert PriceList([ended], config.Price(gpu_hour_micro=5)).at(0).gpu_hour_micro is None


def test_the_day_goes_on_at_the_rate_of_the_last_hour() -> None:
    """What it comes to is what is known, and that rate until midnight."""
    known = costs.bill([], [box(n, 900) for n in range(-8, 1)], listed(GPU), {})
    last = costs.bill([], [box(n, 900) for n in range(-4, 0)], listed(GPU), {})
    assert spending.projection(known, last, 3_600, 7_200) == 9_000_000 + 8_000_000
    young = costs.bill([], [box(seconds=90)], listed(GPU), {})
    assert spending.projection(young, young, 90, 3_600) == 100_000 + 4_000_000
    assert spending.projection(young, young, 59, 3_600) is None
    nothing = Bill(currency="EUR")
    assert spending.projection(nothing, nothing, 3_600, 7_200) is None


def test_a_calendar_day_is_that_of_its_time_zone() -> None:
    """With 25 hours when the clocks go back, and its own beginning."""
    noon = 1_792_922_400  # 2026-10-25 11:00 UTC: the clocks went back that night
    begin, end = spending.day(noon, "Europe/Berlin")
    assert (end - begin, begin % 86_400) == (25 * 3_600, 22 * 3_600)
    assert spending.date(begin - 1, "Europe/Berlin") == "2026-10-24"
    assert spending.month(noon, "UTC")[1] - spending.month(noon, "UTC")[0] == 31 * 86_400
    assert spending.day(noon, "Asia/Kathmandu")[0] % QUARTER_S == 0


@pytest.mark.parametrize(
    ("busy_us", "tokens", "hour", "micro"),
    [(HOUR_US, 1_000, 2_500_000, 2_500_000), (HOUR_US // 2, 2_000, 2_500_000, 625_000),
     (1, 0, 2_500_000, None), (1, 1, None, None), (0, 10, 2_500_000, 0)],
)  # fmt: skip
def test_the_price_of_tokens_is_that_of_the_computing_time(
    busy_us: int, tokens: int, hour: int | None, micro: int | None
) -> None:
    """A thousand tokens that took an hour of a GPU cost what the hour costs."""
    tally = Tally(busy_us=busy_us, completion_tokens=tokens)
    assert micro == costs.kilo_micro(tally, Prices(gpu_hour_micro=hour))


def test_the_tokens_of_an_upstream_have_its_price() -> None:
    """Whatever a GPU-hour costs here; without a price list there is none."""
    tally = Tally(prompt_tokens=600, completion_tokens=400)
    listed_ = Prices(1, None, {"cloud": price("cloud", input_micro=10, output_micro=1_000_000)})
    assert costs.kilo_micro(tally, listed_, ("cloud", "big")) == 400
    assert costs.kilo_micro(tally, Prices(1), ("cloud", "big")) is None
