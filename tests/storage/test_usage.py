"""Usage: every request counts once, and what the box used is what was measured."""

from __future__ import annotations

import msgspec

from storage import box_usage, costs, prices, requests, samples, spending, usage
from storage.home import config
from storage.prices import GPU_HOUR, QUARTER_S
from storage.requests import Outcome, Request
from storage.samples import GpuSample, HostSample, InstanceSample, Kind
from storage.store import Session, Store

SECOND_US = 1_000_000
BEGIN = 1_800_000_000 // QUARTER_S * QUARTER_S
HOST = HostSample(
    cpu_percent=1, cores=2, memory_used=1, memory_total=2, disk_used=3, disk_total=4, load1=0.5
)
SETTINGS = config.Price(currency="EUR")


def request(number: int, **changes: object) -> Request:
    """One that ended in the first second of the quarter hour."""
    told = Request(
        id=f"req_{number}", at_us=BEGIN * SECOND_US - 500, latency_us=500, service="ops", release=1,
        worker="ops-1.0.0:2", endpoint="/v1/completions", key_id=1, tenant="t", prompt_tokens=30,
        completion_tokens=5, busy_us=50, outcome=Outcome.OK,
    )  # fmt: skip
    return msgspec.structs.replace(told, **changes)


async def record(store: Store, *ended: Request) -> None:
    """As the recorder does."""

    async def work(s: Session) -> None:
        await usage.record(s, await requests.record(s, ended))

    await store.write(work)


async def test_a_request_counts_once_however_often_it_is_recorded(store: Store) -> None:
    """A gateway that was killed leaves a journal of requests that may be in the store already."""
    await record(store, request(1), request(2, tenant="u"), request(3, cached_tokens=99))
    await record(store, request(1), request(4), request(4), request(2, tenant="u"))
    async with store.read() as s:
        found = await usage.between(s, BEGIN, BEGIN + 1)
        assert await usage.between(s, BEGIN + QUARTER_S, 2**40) == []
        assert len(await usage.between(s, 0, 2**40, tenant="u", key_id=1, service="ops")) == 1
    assert [(row.tenant, row.requests, row.prompt_tokens) for row in found] == [
        ("t", 3, 90), ("u", 1, 30),
    ]  # fmt: skip
    assert (found[0].deployment, found[0].cached_tokens, found[0].busy_us) == ("ops-1.0.0", 30, 150)


def gpu(energy_mj: int | None = None, power_mw: int | None = 100_000, index: int = 0) -> GpuSample:
    """A card."""
    return GpuSample(
        index=index, name="H100", utilisation_percent=1, memory_used=1, memory_total=2,
        power_mw=power_mw, power_limit_mw=1, temperature_c=1, energy_mj=energy_mj,
    )  # fmt: skip


def busy(busy_us: int, idle_us: int) -> InstanceSample:
    """A row of a worker."""
    return InstanceSample(running=0, waiting=0, busy_us=busy_us, idle_us=idle_us)


def test_device_time_is_that_in_which_the_box_was_measured() -> None:
    """Of each GPU; of the box where there is none; a second counts once, whoever measured it."""
    hosts = range(BEGIN, BEGIN + 100)
    none = box_usage.of(BEGIN, hosts, [], [(BEGIN + 103, busy(0, 4_000_000))])
    assert none is not None
    assert (none.devices, none.device_us, none.work_mj) == (1, 104 * SECOND_US, None)
    two = [(BEGIN + n, gpu(index=i, power_mw=None)) for n in range(9) for i in (0, 1)]
    both = box_usage.of(BEGIN, hosts, two, [])
    assert both is not None
    assert (both.devices, both.device_us, both.work_mj) == (2, 200 * SECOND_US, None)
    assert box_usage.of(BEGIN, [BEGIN - 1, BEGIN + QUARTER_S], [], []) is None


def test_energy_is_split_by_how_busy_the_devices_were() -> None:
    """By the card's counter, which includes the seconds before; half busy is half idle."""
    cards = [(BEGIN - 1, gpu(1_000)), (BEGIN, gpu(1_400)), (BEGIN + 1, gpu(1_500))]
    rows = [(BEGIN, busy(500_000, 500_000))]
    found = box_usage.of(BEGIN, [BEGIN], cards, rows)
    assert found is not None
    assert (found.work_mj, found.idle_mj) == (200, 300)


def test_where_the_counter_is_missing_or_was_reset_power_counts() -> None:
    """Milliwatts over a second are millijoules; over a gap of minutes nothing is known."""
    assert box_usage.used(gpu(), gpu(), 2) == 200_000
    assert box_usage.used(gpu(900), gpu(5), 1) == 100_000
    assert box_usage.used(gpu(900, None), gpu(5, None), 1) is None
    cards = [(BEGIN - 60, gpu(1_000)), (BEGIN, gpu(9_000))]
    found = box_usage.of(BEGIN, [BEGIN], cards, [])
    assert found is not None
    assert found.work_mj is None


async def test_what_the_box_used_is_made_again_with_what_came_since(store: Store) -> None:
    """Across a gap of hours, a few quarter hours at a time, and again after the clock went back."""
    seconds = [BEGIN, BEGIN + 1, *(BEGIN + n * QUARTER_S for n in (1, 2, 3, 4, 5, 40))]
    for at in seconds:
        await store.write(lambda s, a=at: samples.record(s, a, [(Kind.HOST, "box", HOST)]))  # type: ignore[misc]
    now_s = BEGIN + 41 * QUARTER_S
    runs = 0
    while await store.write(lambda s: box_usage.measure(s, now_s)):
        runs += 1
    await store.write(lambda s: samples.record(s, seconds[-1] + 1, [(Kind.HOST, "box", HOST)]))
    await store.write(lambda s: box_usage.measure(s, now_s))
    await store.write(lambda s: box_usage.measure(s, BEGIN + 5))
    async with store.read() as s:
        found = await box_usage.between(s, 0, 2**40)
    assert runs == 2  # of four, of which the second begins with the last that was made
    assert [(row.quarter_s - BEGIN) // QUARTER_S for row in found] == [0, 1, 2, 3, 4, 5, 40]
    assert [row.device_us // SECOND_US for row in found] == [2, 1, 1, 1, 1, 1, 2]


async def test_a_request_costs_its_share_of_its_quarter_hour(store: Store) -> None:
    """The sum of all that were computed in it is what its bill says of them."""
    await record(store, request(1, busy_us=1_000_000), request(2, busy_us=3_000_000))

    async def price(s: Session) -> None:
        await prices.set(
            s, subject=GPU_HOUR, from_s=BEGIN, currency=None, micro=3_600_000, settings=SETTINGS,
            actor="t", at_us=1,
        )  # fmt: skip

    await store.write(price)
    async with store.read() as s:
        bill = await spending.bill(s, BEGIN, BEGIN + 1, SETTINGS)
        each = [await spending.of_request(s, await requests.find(s, f"req_{n}"), SETTINGS)
                for n in (1, 2)]  # fmt: skip
    assert each == [(1_000, "EUR"), (3_000, "EUR")]
    assert costs.micro(bill.pico) == 4_000
