"""Measures: each defined once, over any window and scope, and None where nothing was measured."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from storage import (
    feedback,
    instance_work,
    measures,
    rejections,
    requests,
    rollup_rows,
    samples,
    tallies,
)
from storage.measures import MEASURES, Traffic, Window
from storage.requests import Outcome, Request
from storage.samples import GatewaySample, InstanceSample, Kind
from storage.sketches import Sketch
from storage.store import Store
from storage.tallies import Tally

SECOND_US = 1_000_000


def request(
    number: int, outcome: Outcome = Outcome.OK, *, tenant: str = "t", release: int = 1,
    ttft_us: int | None = 100, ended_us: int = 50 * SECOND_US,
) -> Request:  # fmt: skip
    """One request of the service ops that took a millisecond for each of its number."""
    latency_us = number * 1_000
    return Request(
        id=f"req_{number}", at_us=ended_us - latency_us, service="ops", release=release,
        worker="ops-1.0.0:1", endpoint="/v1/completions", key_id=1, tenant=tenant,
        prompt_tokens=3, completion_tokens=5, queue_us=40, ttft_us=ttft_us, latency_us=latency_us,
        busy_us=50, outcome=outcome,
        error_code=None if outcome is Outcome.OK else f"code_{outcome.value}",
    )  # fmt: skip


def of(*ended: Request, seconds: float = 10.0) -> Traffic:
    """What a window holds in which these requests ended."""
    tally = Tally()
    for each in ended:
        tally.count(each)
    return Traffic(tally=tally, seconds=seconds, measured=True)


NOTHING = Traffic(tally=Tally(), seconds=10.0, measured=False)


def test_without_data_no_measure_has_a_figure() -> None:
    """A dash, never a zero; a quiet window that was measured has counts of zero and no ratios."""
    assert {name: each.of(NOTHING) for name, each in MEASURES.items()} == dict.fromkeys(MEASURES)
    quiet = {name: each.of(of()) for name, each in MEASURES.items()}
    assert {name for name, value in quiet.items() if value == 0} == {
        "requests", "requests_per_s", "prompt_tokens", "completion_tokens", "tokens_per_s",
        "compute",
    }  # fmt: skip
    assert {value for value in quiet.values() if value != 0} == {None}


def test_requests_without_a_valid_key_have_a_rate() -> None:
    """Of the gateway's rows; None where it wrote none. Other rejections are counted apart."""
    rows = [
        GatewaySample(held=0, connections=1, rejected={"missing_api_key": 3, "no_release": 2}),
        GatewaySample(held=0, connections=1, rejected={"invalid_api_key": 7}),
    ]
    assert rejections.unauthenticated_per_s(rows, Window(1, 4)) == 2.5
    assert rejections.unauthenticated_per_s([], Window(1, 4)) is None
    assert rejections.by_code(rows)["no_release"] == 2


def test_the_error_rate_is_of_requests_that_were_executed() -> None:
    """Neither what clients cancelled nor what admission refused dilutes it."""
    ended = [request(n) for n in range(6)]
    ended += [request(7, Outcome.FAILED), request(8, Outcome.FAILED)]
    assert measures.error_rate(of(*ended)) == 0.25
    ended += [request(n, Outcome.CANCELLED) for n in range(10, 50)]
    ended += [request(n, Outcome.REFUSED, ttft_us=None) for n in range(50, 58)]
    busy = of(*ended)
    assert measures.error_rate(busy) == 0.25
    assert measures.refusal_rate(busy) == 0.5
    assert measures.cancellation_rate(busy) == 40 / 56
    assert busy.tally.errors == {"code_failed": 2, "code_cancelled": 40, "code_refused": 8}


def test_durations_are_of_the_requests_that_have_them() -> None:
    """Latency of full answers, queue time of what was computed, the first token of all with one."""
    traffic = of(
        request(1),
        request(1_000, Outcome.CANCELLED),
        request(9_000, Outcome.FAILED, ttft_us=None),
    )
    assert measures.latency(traffic, 1.0) == pytest.approx(1_000, rel=0.01)
    counts = [getattr(traffic.tally, name).count for name in ("latency", "ttft", "queue")]
    assert counts == [1, 2, 2]
    assert measures.queue_time(traffic, 0.5) == pytest.approx(40, rel=0.01)


def test_the_cached_share_is_of_all_prompt_tokens() -> None:
    """Of requests that ended, cancelled ones included; the store keeps it."""
    traffic = of(
        msgspec.structs.replace(request(1), cached_tokens=2), request(2, Outcome.CANCELLED)
    )
    assert measures.cached_share(traffic) == pytest.approx(2 / 6)
    assert Tally.of(traffic.tally.sample()).cached_tokens == 2


def test_rates_are_per_second_of_the_window() -> None:
    """Three requests with five tokens each in ten seconds."""
    traffic = of(*(request(n) for n in range(3)))
    assert measures.requests_per_s(traffic) == 0.3
    assert measures.tokens_per_s(traffic) == 1.5


def test_a_changed_thumb_counts_by_its_last_value() -> None:
    """Within a window, and in a window that holds only the change."""
    tally = Tally()
    tally.rate(1)
    tally.rate(-1)
    tally.rate(-1, before=1)
    traffic = Traffic(tally=tally, seconds=1, measured=True)
    assert (measures.thumbs(traffic), measures.satisfaction(traffic)) == ((0, 2), 0.0)
    later = Tally()
    later.rate(-1, before=1)
    assert measures.thumbs(Traffic(tally=later, seconds=1, measured=True)) == (0, 1)


TIMES = st.lists(st.lists(st.floats(1, 1e9), max_size=30), max_size=8)


@given(TIMES, st.sampled_from((0.5, 0.95)))
def test_a_quantile_of_several_seconds_is_that_of_all_their_requests(
    seconds: list[list[float]], q: float
) -> None:
    """Not a mean of quantiles; adding changes none of the parts."""
    parts, whole = [], Sketch()
    for values in seconds:
        part = Tally()
        for value in values:
            part.latency.add(value)
            whole.add(value)
        parts.append(part)
    before = [part.sample() for part in parts]
    assert tallies.total(parts).latency.quantile(q) == whole.quantile(q)
    assert before == [part.sample() for part in parts]
    assert [Tally.of(sample) for sample in before] == parts


async def record(store: Store, *ended: Request) -> None:
    """Store requests and their samples as the gateway does: a row per arm and second."""

    async def work(s: AsyncSession) -> None:
        await requests.record(s, ended)
        for each in ended:
            tally = Tally()
            tally.count(each)
            second = (each.at_us + each.latency_us) // SECOND_US
            arm = f"{each.service}/r{each.release}"
            tenant = f"{each.service}/{each.tenant}"
            rows = [(Kind.ARM, arm, tally.sample()), (Kind.TENANT, tenant, tally.sample())]
            await samples.record(s, second, rows)

    await store.write(work)


async def test_any_scope_of_a_window_is_measured(store: Store) -> None:
    """By service, release, tenant and instance; both ends of the window are in it."""
    await record(
        store,
        request(1, ended_us=10 * SECOND_US),
        request(2, ended_us=11 * SECOND_US, tenant="other"),
        request(3, Outcome.FAILED, ended_us=20 * SECOND_US, tenant="other", release=2),
        request(4, ended_us=21 * SECOND_US),
    )
    window = Window(11, 20)

    async def ended(**scope: object) -> float | None:
        async with store.read() as s:
            return measures.requests_ended(await measures.traffic(s, window, **scope))  # type: ignore[arg-type]

    assert await ended() == 2
    assert await ended(service="ops") == 2
    assert await ended(service="ops", release=2) == 1
    assert await ended(tenant="other") == 2
    assert await ended(tenant="other", release=2) == 1
    assert await ended(tenant="t") == 0  # measured, and quiet
    assert await ended(instance="ops-1.0.0:1") == 2
    assert await ended(service="op") is None
    async with store.read() as s:
        other = await measures.traffic(s, window, tenant="other")
        before = await measures.traffic(s, Window(0, 9), tenant="other")
    assert measures.error_rate(other) == 0.5
    assert measures.requests_ended(before) is None


async def test_the_same_requests_give_the_same_figures_by_samples_and_by_rows(
    store: Store,
) -> None:
    """A tenant that is the only one has the figures of its service."""
    outcomes = [Outcome.OK, Outcome.FAILED, Outcome.CANCELLED, Outcome.REFUSED, Outcome.OK]
    await record(store, *(request(n, outcome) for n, outcome in enumerate(outcomes, 1)))
    await store.write(
        lambda s: feedback.add(
            s, request_id="req_1", at_us=50 * SECOND_US, score=1, correct=None, comment=None,
            key_id=1,
        )
    )  # fmt: skip
    thumbs = Tally()
    thumbs.rate(1)
    rows = [(Kind.ARM, "ops/r1", thumbs.sample()), (Kind.TENANT, "ops/t", thumbs.sample())]
    await store.write(lambda s: samples.record(s, 50, rows))
    window = Window.last(10, 50)
    async with store.read() as s:
        by_samples = await measures.traffic(s, window, service="ops")
        by_tenant = await measures.traffic(s, window, service="ops", tenant="t")
        by_rows = await measures.traffic(s, window, service="ops", tenant="t", release=1)
    assert (
        {n: each.of(by_samples) for n, each in MEASURES.items()}
        == {n: each.of(by_rows) for n, each in MEASURES.items()}
        == {n: each.of(by_tenant) for n, each in MEASURES.items()}
    )


async def test_requests_from_before_tenants_were_counted_are_found(store: Store) -> None:
    """An upgraded box has the samples of its arms alone; the requests know their tenants."""
    await record(store, request(1, tenant="other"))
    await store.write(lambda s: samples.prune(s, 2**40))
    await store.write(lambda s: rollup_rows.set_mark(s, tenants_since_s=51))
    async with store.read() as s:
        earlier = await measures.traffic(s, Window(40, 60), tenant="other")
        later = await measures.traffic(s, Window(51, 60), tenant="other")
    assert (measures.requests_ended(earlier), measures.requests_ended(later)) == (1, None)


def instance(**changes: object) -> InstanceSample:
    """A second of a worker: half busy, a quarter of its cache used."""
    told = {
        "running": 1, "waiting": 0, "kv_used_tokens": 25, "kv_total_tokens": 100,
        "decode_tokens": 10, "busy_us": 500_000, "idle_us": 500_000,
    } | changes  # fmt: skip
    return InstanceSample(**told)  # type: ignore[arg-type]


def test_instances_add_up() -> None:
    """Rates are summed, shares are of what both have; a quiet row covers four seconds."""
    one = instance_work.of([instance()])
    two = instance_work.of([instance(busy_us=0, idle_us=4_000_000, decode_tokens=4)])
    assert one is not None
    assert two is not None
    assert instance_work.generation_rate([one, two]) == 11
    assert instance_work.busy_share([one, two]) == 0.1
    assert (
        instance_work.kv_use([one.last, instance(kv_used_tokens=275, kv_total_tokens=300)]) == 0.75
    )


def test_what_a_backend_does_not_report_is_unknown() -> None:
    """An upstream reports a share of its cache and no computing time."""
    assert instance_work.of([]) is None
    upstream = InstanceSample(running=2, waiting=0, kv_share=0.5, decode_tokens=30)
    work = instance_work.of([upstream, upstream])
    assert work is not None
    assert instance_work.busy_share([work]) is None
    assert instance_work.generation_rate([work]) == 30
    assert instance_work.kv_use([upstream]) == 0.5
    assert instance_work.kv_use([upstream, instance()]) == 0.375
    assert instance_work.kv_use([InstanceSample(running=0, waiting=0)]) is None


async def test_work_is_found_by_instance_and_by_deployment(store: Store) -> None:
    """Instances of other deployments, and other times, are not in it."""
    rows = [(Kind.INSTANCE, name, instance()) for name in ("ops:1", "ops:2", "other:1")]
    await store.write(lambda s: samples.record(s, 5, rows))
    await store.write(lambda s: samples.record(s, 6, rows[:1]))
    async with store.read() as s:
        found = await instance_work.by_instance(s, Window(5, 6), deployment="ops")
        every = await instance_work.by_instance(s, Window(6, 6))
    assert {name: work.decode_tokens for name, work in found.items()} == {"ops:1": 20, "ops:2": 10}
    assert set(every) == {"ops:1"}


@pytest.mark.parametrize(
    ("name", "deployment"),
    [("ops-1.0.0:2", "ops-1.0.0"), ("cloud", "cloud"), ("a:b", "a:b"), (":1", "")],
)
def test_an_instance_names_its_deployment(name: str, deployment: str) -> None:
    """An upstream has no copies and is its own."""
    assert samples.deployment(name) == deployment
