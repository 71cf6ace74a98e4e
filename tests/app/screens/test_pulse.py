"""The pulse: everything at 80×24, nothing cut that is needed, the truth when the node is down."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import snapshot, status_lines, words
from app.screens import pulse
from app.snapshot import Load, Node
from app.widgets import machine, palette
from storage.home.paths import Home
from tests.app import pilot, populated_homes
from tests.app.pilot import Clock, FakeNode

pytestmark = pytest.mark.usefixtures("node")

HEADS = ("GPU", "HOST", "BATCH", "KV", "QUEUE", "ttft p95", "TRAFFIC", "SET", "PROCESSES", "LAST")


async def test_all_of_it_fits_80_by_24(busy_home: Home) -> None:
    """Every block is there, no row is cut, and the keys are the last row."""
    async with pilot.at(pilot.program(busy_home)) as screen:
        rows = screen.text.split("\n")
    assert len(rows) == 24
    for head in HEADS:
        assert head in screen_text(rows), head
    assert not [row for row in rows if "…" in row]
    assert rows[-1].endswith("q quit")
    assert "QUEUE 4, oldest 1.80 s" in screen_text(rows)
    assert "28.2 % synthetic" in screen_text(rows)


def screen_text(rows: list[str]) -> str:
    """Rows as one text."""
    return "\n".join(rows)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60)])
async def test_a_crowded_box_shows_first_what_ails(
    crowded_home: Home, width: int, height: int
) -> None:
    """However much there is: what crashed, what refuses and what is full is on the screen."""
    async with pilot.at(pilot.program(crowded_home), width, height) as screen:
        rows = screen.text.split("\n")
    text = screen_text(rows)
    assert len(rows) == height
    assert all(words.width(row) <= width for row in rows)
    for needed in ("▲ 2 slowed", "▲ DISK", "recorder ▲ crashed ↻3", "▲ crashed ↻1", "r1", "160"):
        assert needed in text, needed
    assert " RO " in rows[0]
    assert "crashed +6" in rows[0] or "[/foo]" in rows[0]
    assert "\x1b" not in text


async def test_with_the_node_down_the_store_is_shown_and_says_so(
    busy_home: Home, node: FakeNode
) -> None:
    """The header says it, present values are dashes, past ones stay with their time."""
    node.down = True
    clock = Clock(populated_homes.NOW_US + 90 * populated_homes.SECOND_US)
    async with pilot.at(pilot.program(busy_home, clock=clock)) as screen:
        assert screen.node is Node.DOWN
        text = screen.text
    assert "▲ NODE DOWN" in text
    assert "as of 1 min ago" in text
    assert "5 min until 03:12:07Z" in text
    assert "HOST   not measured now" in text
    assert "BATCH     – running" in text
    assert "gateway ○ not running" in text
    assert "r1      90 %" in text


async def test_a_node_that_dies_and_comes_back_is_noticed(busy_home: Home, node: FakeNode) -> None:
    """Silence makes the screen ask; an answer makes it whole again."""
    clock = Clock()
    async with pilot.at(pilot.program(busy_home, clock=clock)) as screen:
        assert screen.node is Node.UP
        node.down = True
        clock.pass_s(5)
        await screen.look()
        assert "▲ NODE DOWN" in screen.header
        node.down = False
        clock.pass_s(5)
        await screen.look()
        assert "NODE DOWN" not in screen.header
        assert "LIVE support" in screen.header


async def test_a_home_without_a_box_says_so_and_finds_it_later(tmp_path: Path) -> None:
    """A screen that was opened too early need not be opened again; every place says why in full."""
    async with pilot.at(pilot.program(Home(tmp_path / "home"))) as screen:
        assert "no box here" in screen.header
        for key in ("t", "l", "j", "o"):
            await screen.go(key)
            error = screen.app.current.header.error
            assert "".join(error.split()) in "".join(screen.text.split())


async def test_a_box_without_a_service_says_how_to_make_one(quiet_home: Home) -> None:
    """Nothing measured is dashes, no GPU is said, and no figure is made up."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        text = screen.text
    assert "no GPU: driver not found" in text
    assert "now – tok/s" in text
    (arm,) = (line.split() for line in text.splitlines() if line.startswith(" r1 "))
    assert arm == ["r1", "100", "%", "–", "–", "–", "–", "–", "0", "–"]
    assert "synthetic" not in text


@pytest.mark.parametrize(
    ("count", "rows"),
    [
        (1, [" ▲ The store is gone. Put the file", "   back, or restore a backup with `pa…"]),
        (2, [" ▲ The store is gone. Put the file ba…", " ▲ And so on."]),
        (
            3,
            [
                " ▲ The store is gone. Put the file ba…",
                " ▲ and 2 more: ! shows all of them",
            ],
        ),
    ],
)
def test_the_advice_of_a_trouble_is_shown_where_there_is_room(count: int, rows: list[str]) -> None:
    """Two rows: a sentence may take both, and is cut where others need them."""
    advice = "The store is gone. Put the file back, or restore a backup with `paddock restore`."
    worst = snapshot.Trouble(brief="gone", sentence=advice)
    other = snapshot.Trouble(brief="other", sentence="And so on.")
    seen = [worst, other, other][:count]
    assert [palette.text(row) for row in pulse.troubles(seen, 38, 2)] == rows


INSTANCE = snapshot.Instance(
    name="a-model-with-a-very-long-name-1.2.3:1", state="ready", reason="", restarts=2, pid=1,
    started_at_us=0,
)  # fmt: skip
DEPLOYMENT = snapshot.Deployment(
    name="a-model-with-a-very-long-name-1.2.3", backend="local", state="ready", reason="",
    ready=1, replicas=1, instances=(INSTANCE,),
)  # fmt: skip
FULL = Load(
    running=256, max_running=256, kv=1.0, waiting=12_345, oldest_us=599_000_000,
    tokens_per_s=123_456.0, busy=1.0,
)  # fmt: skip
EMPTY = snapshot.Pulse(
    machine=snapshot.Machine(), load=FULL, ttft_p95_us=599_000_000, charts=(), services=(),
    processes=(), deployments=(), events=(),
    window=snapshot.TrafficWindow(window_us=1, currency="USD", priced=False),
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_fullest_batch_row_fits(width: int) -> None:
    """Running, cache, queue with its oldest, and time to the first token fit at every size."""
    row = palette.text(pulse.load(EMPTY, width))
    assert words.width(row) <= width
    for needed in ("256/256 running", "KV 100 %", "QUEUE 12 345, oldest 10 min", "ttft p95 10 min"):
        assert needed in row
    assert ("tok/s" in row) == (width > 80)


def _row(deployment: snapshot.Deployment, width: int = 80) -> str:
    """The row of a deployment."""
    seen = dataclasses.replace(EMPTY, deployments=(deployment,))
    return palette.text(pulse.supervised(seen, width)[-1])


def test_a_deployment_keeps_its_version_and_its_figures() -> None:
    """A long name loses its middle."""
    row = _row(dataclasses.replace(DEPLOYMENT, load=FULL))
    assert words.width(row) <= 80
    assert row.startswith(" worker a-mo")
    for needed in ("-1.2.3", "● ready ↻2", "256/256 running", "KV 100 %"):
        assert needed in row


def test_a_deployment_of_several_instances_says_how_many_are_ready() -> None:
    """And what is wrong with the worst of them."""
    dead = dataclasses.replace(INSTANCE, name="ops:2", state="crashed", reason="signal 9")
    two = dataclasses.replace(DEPLOYMENT, name="ops", replicas=2, instances=(INSTANCE, dead))
    assert "▲ 1/2 ready, crashed ↻4: signal 9" in _row(
        dataclasses.replace(two, state="crashed", reason="signal 9")
    )
    assert "● 2/2 ready" in _row(dataclasses.replace(two, ready=2))


def test_an_upstream_that_does_not_answer_is_not_taken_for_a_quiet_one() -> None:
    """It has no instances here: whether it answers is what there is to say."""
    cloud = dataclasses.replace(
        DEPLOYMENT, name="cloud", backend="upstream", instances=(), ready=0, state="down",
        reason="it does not answer",
    )  # fmt: skip
    assert _row(cloud) == " upstream cloud ▲ down: it does not answer"
    partial = dataclasses.replace(FULL, busy=None, max_running=None, kv=None)
    answering = dataclasses.replace(cloud, state="answering", reason="", load=partial)
    assert " upstream cloud ● answering   256/– running   KV –" in _row(answering)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 2**40)), max_size=9), st.integers(80, 200)
)
def test_rows_of_the_machine_fit(gpus: list[tuple[float, int]], width: int) -> None:
    """None, one or nine GPUs: at most four rows and the host's, none too wide."""
    seen = snapshot.Machine(
        host=snapshot.Host(
            cpu=0.5, cores=128, memory_used=1, memory_total=2**40, disk_used=1,
            disk_total=2**45, load1=99.9,
        ),
        gpus=tuple(
            snapshot.Gpu(
                index=at, name="x", utilisation=share, memory_used=used, memory_total=2**40,
                power_mw=1, power_limit_mw=700_000, temperature_c=71, throttle=("heat",),
            )
            for at, (share, used) in enumerate(gpus)
        ),
    )  # fmt: skip
    rows = machine.draw(seen, width)
    assert len(rows) <= 5
    assert all(palette.length(row) <= width for row in rows)
    assert all("▲" in palette.text(row) for row in rows[:-1])


@pytest.mark.parametrize("count", [1, 5])
def test_a_gpu_that_tells_little_is_dashes(count: int) -> None:
    """A MIG slice knows its memory; what is unknown is not 0 W or 0 °C."""
    gpu = snapshot.Gpu(
        index=0, name="MIG 1g.10gb", utilisation=None, memory_used=2**33, memory_total=2**34,
        power_mw=None, power_limit_mw=None, temperature_c=None, throttle=(),
    )  # fmt: skip
    host = snapshot.Machine(gpus=(gpu,) * count)
    drawn = palette.text(machine.draw(host, 120)[0])
    assert "MEM" in drawn
    assert "– °C" in drawn
    assert "0 W" not in drawn
    assert "%" not in drawn
    up = snapshot.Header(host="box01", person=snapshot.Person(name="sara"), node=snapshot.Node.UP)
    text = status_lines.lines(
        up, dataclasses.replace(EMPTY, machine=host), Home(Path("/nowhere")), ""
    )
    (row, *_) = [each for each in text if each.startswith("GPU 0")]
    assert row.endswith("– of – W   – °C")
    assert "%" not in row


def test_what_happened_to_a_file_names_it_however_long_its_path() -> None:
    """The folders give way, in the rows of events and of what is wrong."""
    said = f"the file /srv{'/models' * 20}/ops-1.0.0.gguf is missing"
    event = snapshot.Event(at_us=0, who="sara", what=said, state="refused")
    (row,) = pulse.events([event], 0, 80)
    assert "/ops-1.0.0.gguf is missing" in palette.text(row)
    (trouble,) = pulse.troubles([snapshot.Trouble(brief="", sentence=said)], 80, 1)
    assert "/ops-1.0.0.gguf is missing" in palette.text(trouble)


def test_events_of_another_day_have_their_date() -> None:
    """A crash of yesterday is not taken for one of tonight."""
    now = populated_homes.NOW_US
    yesterday = now - 86_400 * populated_homes.SECOND_US
    old = snapshot.Event(at_us=yesterday, who="node", what="gateway crashed", state="crashed")
    new = snapshot.Event(at_us=now, who="sara", what="r9 is not known", state="refused")
    rows = [palette.text(row) for row in pulse.events([new, old], now, 80)]
    assert rows[0] == " 03:12:07    sara       ▲ refused: r9 is not known"
    assert rows[1] == " 03-13 03:12 node       ▲ gateway crashed"
