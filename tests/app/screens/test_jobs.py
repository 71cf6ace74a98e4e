"""The list of jobs, and one of them in full; cancelled from the screen like everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app import progress_bar
from storage import job_attempts, job_logs, jobs
from storage import store as stores
from storage.home.paths import Home
from storage.jobs import Progress, State
from storage.store import Session, Store
from tests.app import pilot, populated_homes
from tests.app.pilot import FakeNode, RunningScreen
from tests.app.test_snapshots import compared

pytestmark = pytest.mark.usefixtures("node")

STEPS = ("resolve", "fetch", "inspect", "hash", "register")
BORN_US = populated_homes.NOW_US - 90 * populated_homes.SECOND_US


async def scene(store: Store) -> None:
    """One that has failed, one that downloads, one that waits."""
    await populated_homes.quiet(store)

    async def work(s: Session) -> None:
        for number, (target, state) in enumerate(
            (("tiny@1.0.0", State.FAILED), ("llama@3.2.0", State.RUNNING), ("x@1.0.0", None))
        ):
            at_us = BORN_US + number * populated_homes.SECOND_US
            job = await jobs.add(
                s, kind="add_model", target=target, arguments={}, actor="sara", at_us=at_us
            )
            if state is None:
                continue
            await job_attempts.start(s, job.id, at_us=at_us)
            await job_attempts.take(s, job.id, pid=9, steps=STEPS, at_us=at_us)
            await job_attempts.begin_step(s, job.id, 1, "resolve", at_us=at_us)
            if state is State.FAILED:
                said = f"hf://acme/tiny: there is no such repository. {populated_homes.HOSTILE}"
                await job_attempts.fail(s, job.id, 1, said, at_us=at_us, refused=True)
                continue
            await job_attempts.end_step(s, job.id, 1, "resolve", {}, at_us=at_us + 120_000)
            await job_attempts.begin_step(s, job.id, 1, "fetch", at_us=at_us + 120_000)
            counted = Progress(
                done=1_500_000_000, total=2_000_000_000, unit="B", rate_per_s=50_000_000
            )
            await job_attempts.beat(s, job.id, 1, at_us=populated_homes.NOW_US, progress=counted)
            lines = [(at_us + 130_000, "acme/llama at 1234abcd: 2000000000 bytes.")]
            lines += [(at_us + n * populated_homes.SECOND_US, f"line {n}") for n in range(1, 30)]
            await job_logs.append(s, job.id, lines)

    await store.write(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with those jobs."""
    return populated_homes.make(tmp_path / "home", scene)


async def arm(screen: RunningScreen) -> None:
    """Allow changes from this screen."""
    await screen.press("colon")
    await screen.type("rw")
    await screen.press("enter")


async def test_the_jobs_are_listed_with_how_far_they_are(home: Home) -> None:
    """Newest first; a bar with its share, the rate and the time that is left."""
    async with pilot.at(pilot.program(home), width=140, height=30) as screen:
        await screen.go("j")
        rows = screen.text.split("\n")
    assert "JOBS" in rows[1]
    assert "2 unfinished" in rows[1]
    assert rows[3].split()[:5] == ["▸", "3", "add_model", "x@1.0.0", "○"]
    assert "● running" in rows[4]
    assert "█████████░░░  75%" in rows[4]
    assert "10.0 s" in rows[4]
    assert "50.0 MB/s" in rows[4]
    assert "▲ failed" in rows[5]
    assert "hf://acme/tiny:" in rows[5]


async def test_a_job_in_full_follows_its_log(home: Home) -> None:
    """Its steps, its progress; the newest line is visible until the user scrolls."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("j")
        await screen.press("down")
        await screen.go("enter")
        assert "line 29" in screen.text
        await screen.press("home")
        assert "JOB 2" in screen.text
        assert "1.50 GB of 2.00 GB" in screen.text
        assert "1. resolve" in screen.text
        assert "done in 120 ms" in screen.text
        assert "line 29" not in screen.text
        await screen.press("end")
        assert "line 29" in screen.text
        await screen.press("escape")
        assert screen.place.where == "jobs"


async def test_a_running_job_is_cancelled_from_the_screen(home: Home, node: FakeNode) -> None:
    """Armed, confirmed with its effect, and what became of it is said; ended ones are left."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("j")
        await screen.press("down")
        await screen.press("x")
        assert "read-only" in screen.text
        await arm(screen)
        await screen.press("x")
        assert "cancel job 2 (add_model llama@3.2.0); what has arrived is removed" in screen.text
        await screen.press("enter")
        await screen.until(lambda: "is being cancelled." in screen.text)
        await screen.press("down")
        await screen.press("x")
        assert "job 1 has failed" in screen.text
    assert node.asked == [("jobs.cancel", "2", {}, None)]
    store = await stores.open(home, readonly=True)
    async with store.read() as s:
        assert (await jobs.find(s, 2)).state is State.CANCELLING
    await store.close()


async def test_the_place_of_jobs_is_found_by_its_name(home: Home) -> None:
    """`:jobs`, as every place; elsewhere `x` says where it belongs."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.press("x")
        assert "Cancel a job: in the place jobs (j)." in screen.text
        await screen.press("colon")
        await screen.type("jobs")
        await screen.go("enter")
        assert screen.place.where == "jobs"


async def test_a_box_without_jobs_says_what_makes_one(busy_home: Home) -> None:
    """Nothing is not an empty screen."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        await screen.go("j")
        assert "no jobs yet: `paddock models add` makes one" in screen.text


def test_a_bar_is_drawn_in_letters_where_the_terminal_has_no_more() -> None:
    """A job that counts nothing has a dash."""
    assert progress_bar.bar(0.5, 4, full="#", empty=".") == "##.."
    assert progress_bar.bar(None, 3) == "░░░"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_the_jobs_of_a_box(
    home: Home, snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    """One has failed, one downloads, one waits."""
    assert compared(snap_compare, pilot.program(home), size, "j")


def test_a_job_in_full(home: Home, snap_compare: Callable[..., bool]) -> None:
    """The failed one, with a hostile reason."""
    assert compared(snap_compare, pilot.program(home), (80, 24), "j", "end", "enter")
