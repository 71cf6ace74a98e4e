"""Budgets: one counter for each, that survives restarts and that no rush of requests runs past."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.execution import failures
from engine.execution.recorder import Recorder
from engine.metering import series_of_spending
from engine.metering.budget_counters import Counter
from engine.metering.budgets import Budgets
from engine.metering.expected_costs import ExpectedCosts
from storage import budgets, costs, errors, prices, usage
from storage import store as stores
from storage.box_usage import BoxUsageRow
from storage.budgets import Budget, Period, Scope, Spent, Standing
from storage.home import config
from storage.home import paths as homes
from storage.home.paths import Home
from storage.prices import GPU_HOUR, Price, PriceList
from storage.requests import Outcome, Request
from storage.store import Session, Store
from storage.usage import Usage
from tests.engine.execution import jobs
from tests.storage import fixtures

DAY_S = 86_400
MORNING_S = 20_000 * DAY_S + 6 * 3_600
SETTINGS = config.Price(currency="EUR")
BUDGET = Budget(scope=Scope.TENANT, subject="t", period=Period.DAY, limit_micro=3_000)


def request(number: int, *, tenant: str = "t", busy_us: int = 1_000_000) -> Request:
    """One that cost a thousandth of the currency, a second at 3.60 an hour."""
    return Request(
        id=f"req_{number}", at_us=MORNING_S * 1_000_000, service="ops", release=1,
        worker="ops-1.0.0:1", endpoint="/v1/completions", key_id=1, tenant=tenant, busy_us=busy_us,
        completion_tokens=3, outcome=Outcome.OK,
    )  # fmt: skip


class Clock:
    """A clock that tests set, in seconds."""

    now_s = MORNING_S

    def us(self) -> int:
        """In microseconds."""
        return self.now_s * 1_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with a price and a budget of three thousandths a day."""
    opened = await stores.open(homes.make(Home(tmp_path / "home")))

    async def work(s: Session) -> None:
        await prices.set(
            s, subject=GPU_HOUR, from_s=0, currency=None, micro=3_600_000, settings=SETTINGS,
            actor="t", at_us=1,
        )  # fmt: skip
        await budgets.set(s, BUDGET, actor="t", at_us=1)

    await opened.write(work)
    yield opened
    await opened.close()


async def gateway(store: Store, clock: Clock) -> tuple[Budgets, Recorder]:
    """The parts of a gateway that concern budgets, just started."""
    recorder = Recorder(store)
    made = Budgets(store, recorder, SETTINGS, now_us=clock.us)
    await made.refresh()
    return made, recorder


def admitted(made: Budgets, number: int, tenant: str = "t") -> bool:
    """Whether a request may begin."""
    job = msgspec.structs.replace(jobs.job(), id=f"req_{number}", tenant=tenant)
    try:
        made.admit(job)
    except failures.Overloaded:
        return False
    return True


async def end(made: Budgets, recorder: Recorder, number: int, tenant: str = "t") -> None:
    """A request has ended."""
    ended = request(number, tenant=tenant)
    recorder.record(ended)
    made.ended(ended)


async def test_a_spent_budget_refuses_until_it_is_renewed(store: Store) -> None:
    """With the time of renewal; other tenants are served; a restart forgets nothing."""
    clock = Clock()
    made, recorder = await gateway(store, clock)
    for number in range(3):
        assert admitted(made, number)
        await end(made, recorder, number)
    with pytest.raises(failures.Overloaded) as refused:
        made.admit(msgspec.structs.replace(jobs.job(), id="req_9", tenant="t"))
    assert str(refused.value.message) == (
        "the daily budget of tenant t (0.00 EUR) is spent; it is renewed at 2024-10-05 00:00 UTC"
    )
    assert (refused.value.code, refused.value.retry_after_us) == (
        "budget_spent", 18 * 3_600 * 1_000_000,
    )  # fmt: skip
    assert admitted(made, 10, "other")
    await recorder.flush()
    again, _ = await gateway(store, clock)
    assert not admitted(again, 11)
    clock.now_s += DAY_S
    assert admitted(again, 12)  # before the store was read again
    await again.refresh()
    assert [counter.spent for counter in again.counters] == [0]


async def test_what_ended_while_the_store_was_read_counts_once(store: Store) -> None:
    """However the reading and the end fall together."""
    clock = Clock()
    made, recorder = await gateway(store, clock)
    await end(made, recorder, 1)
    for _ in range(3):
        clock.now_s += 20
        await made.refresh()
        assert [costs.micro(counter.spent) for counter in made.counters] == [1_000]
    await end(made, recorder, 2)
    assert [costs.micro(counter.spent) for counter in made.counters] == [2_000]


async def test_what_is_over_is_not_read_again_and_still_counts(store: Store) -> None:
    """Across the quarter hours of a day; a price set for the past recomputes all of it."""
    clock = Clock()
    made, recorder = await gateway(store, clock)
    for number in range(6):
        ended = msgspec.structs.replace(request(number), at_us=clock.us())
        recorder.record(ended)
        made.ended(ended)
        clock.now_s += 1_000
        await made.refresh()
        (counter,) = made.counters
        assert costs.micro(counter.spent) == (number + 1) * 1_000
    assert costs.micro(counter.closed) == 5_000

    async def dearer(s: Session) -> None:
        await prices.set(
            s, subject=GPU_HOUR, from_s=0, currency=None, micro=7_200_000, settings=SETTINGS,
            actor="t", at_us=1,
        )  # fmt: skip

    await store.write(dearer)
    await made.refresh()
    assert [costs.micro(counter.spent) for counter in made.counters] == [12_000]
    again, _ = await gateway(store, clock)
    assert [costs.micro(counter.spent) for counter in again.counters] == [12_000]


async def test_a_budget_that_only_warns_lets_requests_through(store: Store) -> None:
    """Its state is logged; a removed one stops counting."""
    clock = Clock()
    warns = msgspec.structs.replace(BUDGET, refuse=False)
    await store.write(lambda s: budgets.set(s, warns, actor="t", at_us=2))
    made, recorder = await gateway(store, clock)
    for number in range(4):
        await end(made, recorder, number)
    assert admitted(made, 5)
    await recorder.flush()
    async with store.read() as s:
        (spent,) = await budgets.spent(s, clock.now_s, SETTINGS)
    assert (spent.spent_micro, spent.standing) == (4_000, Standing.SPENT)
    assert spent.renewed_s == 20_001 * DAY_S
    await store.write(
        lambda s: budgets.remove(s, Scope.TENANT, "t", Period.DAY, actor="t", at_us=3)
    )
    await made.refresh()
    assert made.counters == ()
    with pytest.raises(errors.NotFound, match="no budget of tenant t by the day"):
        await store.write(
            lambda s: budgets.remove(s, Scope.TENANT, "t", Period.DAY, actor="t", at_us=3)
        )


async def test_the_days_before_today_are_read_once(store: Store) -> None:
    """Of a budget by the month; until a price changes, or an hour is over."""
    monthly = msgspec.structs.replace(BUDGET, period=Period.MONTH)
    yesterday = msgspec.structs.replace(request(1), at_us=(MORNING_S - DAY_S) * 1_000_000)

    async def work(s: Session) -> None:
        await budgets.set(s, monthly, actor="t", at_us=2)
        await usage.record(s, [yesterday])

    await store.write(work)
    memory = budgets.Memory()

    async def spent(now_s: int) -> list[int]:
        async with store.read() as s:
            found = await budgets.spent(s, now_s, SETTINGS, memory=memory)
        return [each.spent_micro for each in found if each.budget.period is Period.MONTH]

    assert await spent(MORNING_S) == [1_000]
    await store.write(lambda s: usage.record(s, [yesterday]))  # recorded late, after a crash
    await store.write(lambda s: usage.record(s, [request(2)]))
    assert await spent(MORNING_S + 60) == [2_000]
    assert await spent(MORNING_S + 3_700) == [3_000]
    await store.write(
        lambda s: prices.set(
            s, subject=GPU_HOUR, from_s=0, currency=None, micro=7_200_000, settings=SETTINGS,
            actor="t", at_us=1,
        )
    )  # fmt: skip
    assert await spent(MORNING_S + 3_710) == [6_000]


def test_a_budget_is_in_one_state_and_warns_before_it_refuses() -> None:
    """As alert rules ask for it: within, warned, spent where it only warns, else refuses."""
    held = []
    for micro, refuse in ((1_000, True), (2_500, True), (3_000, True), (3_000, False)):
        budget = msgspec.structs.replace(BUDGET, refuse=refuse)
        spent = Spent(budget=budget, spent_micro=micro, currency="EUR",
                      standing=budget.standing(micro), renewed_s=1)  # fmt: skip
        values = list(series_of_spending.of_budgets([spent]))
        assert values[0][2] == micro / 3_000
        held.append([of["state"] for name, of, value in values[1:] if value])
    assert held == [["within"], ["warned"], ["refuses"], ["spent"]]


async def test_a_budget_is_of_a_key_or_service_that_there_is(store: Store) -> None:
    """A typo limits nothing, so it is refused."""
    for scope in (Scope.KEY, Scope.SERVICE):
        wrong = msgspec.structs.replace(BUDGET, scope=scope, subject="nosuch")
        with pytest.raises(errors.NotFound):
            await store.write(lambda s, w=wrong: budgets.set(s, w, actor="t", at_us=2))  # type: ignore[misc]
    await fixtures.furnish(store)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 5_000), st.integers(0, 100)), max_size=60),
    st.integers(1, 20),
)
def test_no_rush_of_requests_runs_past_a_limit(
    begins: list[tuple[bool, int, int]], limit: int
) -> None:
    """Whatever begins and ends when: only a request that was alone when it began passes it."""
    counter = Counter(msgspec.structs.replace(BUDGET, limit_micro=limit * 1_000), 0, DAY_S)
    whole = counter.budget.limit_micro * costs.PICO
    alone = 0
    for number, (begin, most, percent) in enumerate(begins):
        pico = most * costs.PICO
        if begin and counter.fits(pico):
            alone = max(alone, 0 if counter.reserved else pico)
            counter.reserved[str(number)] = pico
        elif not begin and counter.reserved:
            id, reserved = next(iter(counter.reserved.items()))
            counter.settle(id, reserved * percent // 100)
    for id, reserved in list(counter.reserved.items()):
        counter.settle(id, reserved)
    assert counter.spent <= whole + alone
    assert counter.reserved == {}


async def test_a_rush_before_anything_was_measured_is_bounded(store: Store) -> None:
    """A gateway that has just started reserves by the tokens that are asked for."""
    made, recorder = await gateway(store, Clock())
    job = msgspec.structs.replace(jobs.job(), tenant="t", max_tokens=50)  # a second of computing
    made.admit(msgspec.structs.replace(job, id="req_0"))
    made.admit(msgspec.structs.replace(job, id="req_1"))
    for number in range(2, 100):
        with pytest.raises(failures.Overloaded, match="is reserved by 2 requests") as refused:
            made.admit(msgspec.structs.replace(job, id=f"req_{number}"))
        assert (refused.value.code, refused.value.retry_after_us) == ("budget_reserved", 2_000_000)
    await end(made, recorder, 0)  # it took as long for three tokens: the next may take longer
    assert not admitted(made, 100)
    await end(made, recorder, 1)
    assert admitted(made, 101)


async def test_the_energy_of_computing_counts_when_a_request_ends(store: Store) -> None:
    """By what the box measured lately, so that budgets and counters have it at once."""

    async def work(s: Session) -> None:
        await prices.set(
            s, subject=prices.KWH, from_s=0, currency=None, micro=3_600_000, settings=SETTINGS,
            actor="t", at_us=1,
        )  # fmt: skip
        await usage.record(s, [request(1)])
        quarter_s = MORNING_S // prices.QUARTER_S * prices.QUARTER_S
        s.add(
            BoxUsageRow(quarter_s=quarter_s, devices=1, device_us=2_000_000, work_mj=500_000,
                        idle_mj=0)
        )  # fmt: skip

    await store.write(work)
    made, _ = await gateway(store, Clock())
    assert made.ended(request(2)) == 1_500 * costs.PICO  # 1000 of time, 500 of energy


def test_a_request_costs_at_most_its_bytes_and_its_longest_answer() -> None:
    """At an upstream's prices; on this box by the longest time that a token took lately."""
    listed = PriceList(
        [
            Price(id=1, subject="cloud", from_s=0, currency="EUR", input_micro=3, output_micro=15),
            Price(id=2, subject=GPU_HOUR, from_s=0, currency="EUR", micro=3_600_000),
        ],
        SETTINGS,
    )
    expected = ExpectedCosts(listed, {2: ("cloud", "big")})
    job = jobs.job("four", max_tokens=10, n=2)
    cloud = msgspec.structs.replace(job, release=jobs.release(number=2))
    assert expected.most(cloud, 0) == 8 * 3 + 20 * 15
    assert costs.micro(expected.most(job, 0)) == 21 * 20
    busy = Usage(
        quarter_s=0, service="ops", release=1, tenant="t", key_id=1, deployment="ops-1.0.0",
        completion_tokens=10, busy_us=1_000_000,
    )  # fmt: skip
    expected.of(busy)
    assert costs.micro(expected.most(job, 0)) == 21 * 100
    expected.of(msgspec.structs.replace(busy, busy_us=100_000))
    assert costs.micro(expected.most(job, 0)) == 21 * 99  # it forgets slowly
