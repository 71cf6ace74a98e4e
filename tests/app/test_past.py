"""The box as of a past moment: `status --at` and `:at` show what was, and change nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app import errors as app_errors
from app import reader, snapshot
from app.commands import ab_tests as ab_test_commands
from app.commands import budgets as budget_commands
from app.commands import cost as cost_command
from app.commands import jobs as job_commands
from app.commands import knobs as knob_commands
from app.commands import ledger as ledger_commands
from app.commands import models as model_commands
from app.commands import prompts as prompt_commands
from app.commands import requests as request_commands
from app.commands import status
from app.figures import past, past_reading, reading
from app.screens import keymap
from app.snapshot import Query
from storage import errors, rollup_rows, rollups, samples
from storage import store as stores
from storage.home import clock
from storage.home.paths import Home
from storage.store import Session
from tests.app import pilot
from tests.app.populated_homes import NOW, NOW_US, SECOND_US
from tests.app.store_facts import look

pytestmark = pytest.mark.usefixtures("node")

MINUTE_US = 60 * SECOND_US


async def _pulse(home: Home, at_us: int, now_us: int = NOW_US) -> snapshot.Snapshot:
    return await look(home, Query(place="pulse", at_us=at_us), now_us)


@pytest.fixture
def box(busy_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A busy box of the test's own."""
    home = Home(tmp_path / "home")
    shutil.copytree(busy_home.root, home.root)
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    monkeypatch.setattr(clock, "now_us", lambda: NOW_US)
    return home


def test_every_place_is_read_for_the_past() -> None:
    """The problems are in the first row, and help is the same at all times."""
    assert past_reading.PARTS.keys() | {"problems", "help"} == keymap.PLACES.keys()
    assert past_reading.PARTS.keys() == reading.PARTS.keys()


async def test_a_look_back_gives_what_a_look_gave_then(busy_home: Home) -> None:
    """Services, arms, machine, load and charts: all but what is not recorded."""
    at_us = NOW_US - 2 * MINUTE_US
    then, past = await look(busy_home, now_us=at_us), await _pulse(busy_home, at_us)
    assert then.pulse is not None
    assert past.pulse is not None
    for part in ("machine", "load", "charts", "services", "ttft_p95_us"):
        assert getattr(past.pulse, part) == getattr(then.pulse, part)
    assert [(each.name, each.state) for each in past.pulse.deployments] == [("ops-1.0.0", "ready")]
    assert past.header.live == then.header.live
    assert past.header.now_us == at_us
    assert past.header.back_us == 0
    assert past.header.past is not None
    assert then.header.past is None


async def test_before_the_node_was_started_there_was_none(busy_home: Home) -> None:
    """Its services were there, and nothing was measured: dashes, and none of the figures of now."""
    seen = await _pulse(busy_home, NOW_US - 11 * MINUTE_US)
    assert seen.pulse is not None
    assert seen.header.node is snapshot.Node.DOWN
    assert seen.pulse.processes == ()
    (service,) = seen.pulse.services
    assert [(arm.release, arm.weight_bp) for arm in service.arms] == [(1, 9_000), (2, 1_000)]
    assert [arm.p95_us for arm in service.arms] == [None, None]


async def test_a_stop_long_ago_has_no_figures_of_the_last_minutes_before_it(
    busy_home: Home,
) -> None:
    """A day after the last sample no request was answered in the last five minutes."""
    seen = await _pulse(busy_home, NOW_US + 86_400 * SECOND_US, NOW_US + 90_000 * SECOND_US)
    assert seen.pulse is not None
    assert [each.requests for each in seen.pulse.services] == [0]
    assert seen.pulse.load is None


async def test_deleted_seconds_are_told_by_the_hour_and_said_so(box: Home) -> None:
    """The requests of the whole hour, from its roll-up; load and machine are unknown."""
    store = await stores.open(box)
    later = NOW_US + 7_200 * SECOND_US

    async def gone(s: Session) -> None:
        while await rollups.roll(s, later // SECOND_US):
            pass
        await samples.prune(s, await rollups.seconds_gone(s, NOW + 3_600), limit=100_000)
        await rollup_rows.set_mark(s, minutes_from_s=(NOW // 3_600 + 1) * 3_600)

    try:
        await store.write(gone)
    finally:
        await store.close()
    seen = await _pulse(box, NOW_US - MINUTE_US, later)
    assert seen.pulse is not None
    assert seen.header.past is not None
    assert "requests are those from 2025-03-14 03:00:00Z to 2025-03-14 04:00:00Z, by the hour" in (
        " ".join(seen.header.past)
    )
    (service,) = seen.pulse.services
    now = await look(box, now_us=NOW_US)
    assert service.requests > 0
    assert seen.pulse.window.window_us == 3_600 * SECOND_US
    assert seen.pulse.machine.host is None
    assert seen.pulse.load is None
    assert now.header.past is None


@pytest.mark.usefixtures("box")
async def test_the_status_of_a_past_moment_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    """It exits with 0 whatever was wrong; its document has the moment and what is not known."""
    at_us = NOW_US - 2 * MINUTE_US
    assert await status.print_then(at_us, as_json=False) == 0
    said = capsys.readouterr().out
    assert said.startswith("PAST 2025-03-14 03:10:07Z  box01  node 0.1.0")
    assert "not known: Process ids" in said
    assert await status.print_then(at_us, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["at_us"] == at_us
    assert document["unknown"]
    with pytest.raises(errors.NotFound, match=r"Nothing was recorded before .* It begins at"):
        await status.print_then(0, as_json=False)


async def test_the_past_is_read_once(busy_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not change; a tick of the screen costs nothing more."""
    store = await stores.open(busy_home, readonly=True)
    try:
        source = reader.Reader(busy_home, store, now_us=lambda: NOW_US)
        query = Query(place="traffic", at_us=NOW_US - MINUTE_US)
        first = await source.read(query)
        monkeypatch.setattr(past, "facts", None)
        assert await source.read(query) is first
        await source.close()
    finally:
        await store.close()


async def _typed(screen: pilot.RunningScreen, text: str) -> None:
    await screen.press("colon")
    await screen.type(text)
    await screen.press("enter")


async def test_the_screen_shows_the_past_and_changes_nothing_in_it(busy_home: Home) -> None:
    """Row 1 says PAST in place of RO; `:rw` is refused with the reason; `:now` returns."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        await _typed(screen, "rw")
        assert "RW 15 min" in screen.header
        await _typed(screen, "at 03:10")
        await screen.until(lambda: "PAST" in screen.header)
        assert "03:10" in screen.header
        assert " RO" not in screen.header
        assert " RW" not in screen.header
        await _typed(screen, "rw")
        assert "this is the past, which cannot be changed; :now returns" in screen.said
        await _typed(screen, "releases")
        await screen.until(lambda: screen.app.current.releases is not None)
        await _typed(screen, "traffic")
        await screen.until(lambda: screen.app.current.traffic is not None)
        await screen.press("s")
        assert "Not done: this is the past" in screen.said
        await _typed(screen, "now")
        await screen.until(lambda: "PAST" not in screen.header)
        assert " RO" in screen.header
        await _typed(screen, "at tomorrow")
        assert "is not a time" in screen.said
        await _typed(screen, "now")
        assert "This is now." in screen.said


@pytest.mark.usefixtures("box")
async def test_tails_end_at_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger and the requests up to then; following them into the past is refused."""
    await request_commands.tail(limit=5, at="2025-03-14 03:11:30", as_json=True)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ends = [each["at_us"] + each["latency_us"] for each in found]
    assert len(ends) == 5
    assert max(ends) <= NOW_US - 37 * SECOND_US
    await ledger_commands.tail(limit=5, at="2025-03-14 03:01", as_json=True)
    entries = json.loads(capsys.readouterr().out)
    assert len(entries) == 5
    assert max(each["at_us"] for each in entries) == NOW_US - 700 * SECOND_US
    with pytest.raises(app_errors.BadWord, match="leave --follow out"):
        await request_commands.tail(at="15m", follow=True)


@pytest.mark.parametrize(
    "place",
    ["prompts", "prompt", "models", "ab-tests", "jobs", "alerts", "cost", "releases", "runbooks"],
)
async def test_each_place_of_what_people_change_is_shown_as_of_then(
    busy_home: Home, place: str
) -> None:
    """And what is not recorded of it is named; costs say up to when they are counted."""
    query = Query(place=place, at_us=NOW_US - MINUTE_US, prompt="terse@1")
    seen = await look(busy_home, query)
    part = getattr(seen, place.replace("-", "_"))
    assert part is not None
    assert seen.missing == ""
    assert seen.header.past is not None
    if place == "cost":
        assert "Costs are kept by the quarter hour" in " ".join(part.notes)
    else:
        assert past_reading.NOT_RECORDED[place] in seen.header.past


@pytest.mark.parametrize(
    ("place", "named"),
    [("incident", "incident"), ("run", "run"), ("job", "job"), ("replay", "replay")],
)
async def test_a_place_of_one_thing_says_that_it_was_not_there(
    busy_home: Home, place: str, named: str
) -> None:
    """It shows nothing of now instead."""
    query = Query(place=place, at_us=NOW_US - MINUTE_US, incident=1, run=1, job=1, replay=1)
    seen = await look(busy_home, query)
    assert named in seen.missing.lower()
    assert getattr(seen, place) is None


@pytest.mark.usefixtures("box")
async def test_the_lists_of_what_people_change_take_a_moment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A minute ago there was what there is."""
    lists = (
        knob_commands.every, model_commands.every, prompt_commands.every, ab_test_commands.every,
        job_commands.every, budget_commands.every,
    )  # fmt: skip
    for every in lists:
        await every(at="1m", as_json=True)
        then = capsys.readouterr().out
        await every(as_json=True)
        assert then == capsys.readouterr().out
    await cost_command.cost(at="1m", as_json=False)
    assert "counted up to" in capsys.readouterr().out
