"""Old measurements are forgotten when it is safe to, and never because a clock is wrong."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from engine.control.retention import Keeper, schedule
from storage import job_attempts, job_logs, job_steps, jobs, rollup_rows, rollups, samples
from storage.home.config import Retention
from storage.jobs import Job, State
from storage.samples import Kind
from storage.store import Session, Store

HOUR_S = 3600
DAY_S = 24 * HOUR_S
NOW_S = 1_800_000_000 // HOUR_S * HOUR_S
DAYS = 7
HOURS = range(-10 * 24, 1)  # ten days of measurements, by the hour from now


async def _measured(store: Store, hours: Iterable[int]) -> None:
    """One sample in each of these hours, counted from now; all of them are rolled up."""

    async def work(session: Session) -> None:
        await session.execute(delete(samples.SampleRow))
        seconds = [NOW_S + hour * HOUR_S for hour in hours]
        rows = [{"kind": "arm", "second": at, "subject": "s/r1", "body": "{}"} for at in seconds]
        await session.execute(insert(samples.SampleRow), rows)
        await rollup_rows.set_mark(session, until_s=2**40)

    await store.write(work)


async def _left(store: Store) -> list[int]:
    """The hours that are left, counted from now."""
    async with store.read() as session:
        found = await samples.since(session, 0, Kind.ARM)
    return [(second - NOW_S) // HOUR_S for second, _, _ in found]


def _keeper(store: Store, hour: float = 0) -> Keeper:
    """A keeper that was just started, by a clock that says so many hours from now."""
    now_us = round((NOW_S + hour * HOUR_S) * 1_000_000)
    return Keeper(store, Retention(samples_days=DAYS), now_us=lambda: now_us)


async def test_what_is_older_than_its_days_is_forgotten(store: Store) -> None:
    """Seven days are kept, what is before them is not."""
    await _measured(store, HOURS)
    assert await _keeper(store).forget() == 3 * 24
    assert await _left(store) == list(range(-DAYS * 24, 1))


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    jump=st.integers(-400 * 24, 400 * 24),
    lived=st.integers(0, 22),
    runs=st.integers(1, 4),
)
async def test_nothing_is_lost_to_a_clock_that_is_wrong_for_less_than_a_day(
    store: Store, jump: int, lived: int, runs: int
) -> None:
    """Whatever it says, however often control was put back under it, six days of seven stay."""
    wrong = {jump + hour for hour in range(lived + 1)}
    await _measured(store, {*HOURS, *wrong})
    for _ in range(runs):
        await _keeper(store, jump + lived).forget()
    assert {*range(-(DAYS - 1) * 24 + 1, 1)} <= {*await _left(store)}


async def test_seconds_that_are_not_rolled_up_are_kept(store: Store) -> None:
    """However old they are: a roll-up that failed for a month must find them."""
    await _measured(store, HOURS)
    await store.write(lambda s: rollup_rows.set_mark(s, until_s=NOW_S - 9 * DAY_S))
    assert await _keeper(store).forget() == 24
    async with store.read() as s:
        assert (await rollups.mark(s)).seconds_from_s == NOW_S - 9 * DAY_S


async def test_a_clock_under_which_a_day_was_measured_is_believed(store: Store) -> None:
    """A box that was off for three weeks forgets again, a day after it was started."""
    off = 21 * 24
    await _measured(store, [*HOURS, *range(off, off + 23)])
    assert await _keeper(store, off + 22).forget() < len(HOURS)
    assert -1 in await _left(store)
    await _measured(store, [*HOURS, *range(off, off + 24)])
    await _keeper(store, off + 23).forget()
    assert await _left(store) == list(range(off, off + 24))


async def test_a_box_that_runs_some_hours_a_day_forgets_days_later(store: Store) -> None:
    """It never measures a whole day, and still keeps a bounded number of rows."""
    daily = [day * 24 + hour for day in range(-30, 1) for hour in range(-8, 0)]
    await _measured(store, daily)
    await _keeper(store).forget()
    left = await _left(store)
    assert left[-1] == -1
    assert -(DAYS + 3) * 24 - 8 <= left[0] <= -DAYS * 24


async def test_nothing_is_old_in_a_store_that_is_young(store: Store) -> None:
    """Less than a day of measurements vouches for no clock."""
    await _measured(store, [-900, *range(-20, 1)])
    assert await _keeper(store).forget() == 0


async def test_jobs_are_pruned_days_after_they_ended(store: Store) -> None:
    """With their steps and logs; neither one that has not ended nor the newest, whose number stays.

    The last two jobs ended long ago, too.
    """
    await _measured(store, HOURS)
    long_ago_us = (NOW_S - 40 * DAY_S) * 1_000_000

    async def work(s: Session) -> list[Job]:
        made = [
            await jobs.add(s, kind="x", target=name, arguments={}, actor="kim", at_us=long_ago_us)
            for name in ("succeeded", "queued", "cancelled", "newest")
        ]
        succeeded, _, cancelled, newest = (job.id for job in made)
        await job_attempts.start(s, succeeded, at_us=long_ago_us)
        await job_attempts.take(s, succeeded, pid=1, steps=["only"], at_us=long_ago_us)
        await job_logs.append(s, succeeded, [(long_ago_us, "said")])
        await job_attempts.succeed(s, succeeded, 1, "Done.", at_us=long_ago_us)
        for each in (cancelled, newest):
            await jobs.cancel(s, each, actor="kim", at_us=long_ago_us)
        return made

    made = await store.write(work)
    await _keeper(store).forget()
    async with store.read() as s:
        left = {job.target: job.state for job in await jobs.tail(s)}
        rest = [*await job_logs.read(s, made[0].id), *await job_steps.of(s, made[0].id)]
    assert left == {"queued": State.QUEUED, "newest": State.CANCELLED}
    assert rest == []


async def test_missed_runs_are_made_good_by_one(store: Store) -> None:
    """However long control was down."""
    scheduler = schedule(_keeper(store))
    scheduler.start(paused=True)
    (job,) = [each for each in scheduler.get_jobs() if each.id == "retention"]
    assert (job.coalesce, job.misfire_grace_time, job.max_instances) == (True, None, 1)
    scheduler.shutdown(wait=False)
