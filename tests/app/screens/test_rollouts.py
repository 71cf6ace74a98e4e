"""Rollouts on the screen: where each is and why it waits, led on and taken back by keys."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app import snapshot
from app.screens import leading
from storage import rollouts
from storage import store as stores
from storage.home.paths import Home
from storage.rollouts import State
from storage.store import Store
from tests.app import pilot, populated_homes
from tests.app.pilot import Clock, FakeNode, RunningScreen
from tests.app.test_snapshots import compared
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE, World
from tests.home_templates import Template

pytestmark = pytest.mark.usefixtures("node")

Scene = Callable[[World], Awaitable[None]]


async def made(root: Path, scene: Scene, now_us: int = populated_homes.NOW_US) -> Home:
    """A box on which that has happened, up to now."""
    return await _template(scene, now_us).copy(root)


@functools.cache
def _template(scene: Scene, now_us: int) -> Template:
    async def furnish(store: Store) -> None:
        world = World(store)
        await world.furnish()
        world.now_us = now_us - 60 * worlds.SECOND_US
        await store.write(populated_homes.node)
        await scene(world)

    return Template(furnish)


async def measuring(world: World) -> None:
    """A canary at 5 %, whose analysis has seen 100 requests."""
    await world.start()
    await world.load(CANDIDATE)
    await world.settle()
    await world.smoke()
    await world.settle()
    world.wait(30)
    await world.serve(100)
    await world.settle()


async def harmed(world: World) -> None:
    """The same, with a candidate that fails, which is taken back."""
    await measuring(world)
    await world.serve(60, failed=60)
    await world.settle()


async def completed(world: World) -> None:
    """A blue-green switch that a person promoted to its end; both releases are loaded."""
    await measuring(world)
    await world.ask("rollouts.promote", rollout=1, full=True)
    await world.settle()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with a canary under way."""
    return asyncio.run(made(tmp_path / "home", measuring))


async def arm(screen: RunningScreen) -> None:
    """Allow changes from this screen."""
    await screen.press("colon")
    await screen.type("rw")
    await screen.press("enter")


def question(screen: RunningScreen) -> str:
    """What is asked above the keys, in one row."""
    return " ".join(screen.said.split())


async def state(home: Home) -> State:
    """Of the newest rollout, in the store."""
    store = await stores.open(home, readonly=True)
    try:
        async with store.read() as s:
            found = await rollouts.latest(s, "support")
    finally:
        await store.close()
    assert found is not None
    return found.state


async def test_the_list_says_where_each_rollout_is_and_why_it_waits(home: Home) -> None:
    """At 80 columns: phase, step, weight, the reason and its deadline below."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("r")
        rows = screen.text.split("\n")
        assert "1 under way" in rows[1]
        assert rows[3].split()[:10] == [
            "▸", "1", "support", "r1", "→", "r2", "○", "Progressing", "2/6", "5",
        ]  # fmt: skip
        assert "step 2 of 6: analysis of at most 1 h" in screen.text
        assert "error_rate<=1% needs 199 more without an event" in screen.text
        assert "at most, 59 min from now" in screen.text
        assert max(len(row) for row in rows) <= 80


async def test_the_tree_shows_set_beside_actual_and_the_gates_and_follows_them(home: Home) -> None:
    """What the command prints, drawn again when more is known."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("r")
        await screen.go("enter")
        assert screen.place.path() == "pulse › rollouts › 1"
        text = screen.text
        assert "r2  candidate  set 5 %" in text
        assert "▶  2  analysis of at most 1 h" in text
        assert "error_rate<=1%" in text
        assert "0 of 100" in text
        assert "199" in text
        store = await stores.open(home)
        world = World(store)
        world.now_us, world._requests = populated_homes.NOW_US, 500
        try:
            await world.serve(50)
            await world.settle()
        finally:
            await store.close()
        await screen.look()
        assert "0 of 150" in screen.text
        await screen.press("end")
        assert "MOVES" in screen.text
        assert "kim" in screen.text


async def test_an_armed_screen_leads_a_rollout_and_takes_it_back(
    home: Home, node: FakeNode
) -> None:
    """Pause, promote, abort, retry: each confirmed with its effect, each names what was seen."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("r")
        await screen.press("f")
        assert "Not done: read-only: :rw first." in screen.said
        await arm(screen)
        await screen.press("P")
        assert "pause rollout 1 of support (r1 → r2, stepping, step 2/6): it stays" in question(
            screen
        )
        await screen.press("enter")
        await screen.until(lambda: "is paused; its weights stay" in screen.said)
        await screen.until(lambda: "△ Paused" in screen.text)
        await screen.press("P")
        assert "Not done: rollout 1 is paused." in screen.said
        await screen.press("f")
        assert "it continues from where it was paused" in question(screen)
        await screen.press("enter")
        await screen.until(lambda: "○ Progressing" in screen.text)
        await screen.press("f")
        assert "promote rollout 1 of support" in screen.said
        assert "step 3 of 6: 50 %" in question(screen)
        await screen.press("escape")
        await screen.press("x")
        assert "all traffic back to r1" in question(screen)
        await screen.type("slow")
        await screen.press("enter")
        await screen.until(lambda: "▲ Degraded" in screen.text)
        await screen.press("x")
        assert "Not done: rollout 1 is aborted." in screen.said
        await screen.press("R")
        assert "it begins again from its first step" in question(screen)
        await screen.press("enter")
        await screen.until(lambda: "begins again, attempt 2" in screen.said)
    asked = [(verb, arguments) for verb, _, arguments, _ in node.asked]
    assert asked == [
        ("rollouts.pause", {"rollout": 1}),
        ("rollouts.promote", {"rollout": 1}),
        ("rollouts.abort", {"rollout": 1}),
        ("rollouts.retry", {"rollout": 1}),
    ]
    assert await state(home) is State.LOADING


async def test_promoting_fully_is_the_same_verb_without_steps(home: Home, node: FakeNode) -> None:
    """With the version of the rollout that was on the screen, as the command does it."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("r")
        await arm(screen)
        await screen.go("enter")
        await screen.press("F")
        assert "all traffic to r2 at once, without further steps" in question(screen)
        await screen.press("enter")
        await screen.until(lambda: "has all of the traffic" in screen.said)
    [(verb, target, arguments, version)] = node.asked
    assert (verb, target, arguments) == (
        "rollouts.promote",
        "support",
        {"rollout": 1, "full": True},
    )
    assert version is not None
    assert await state(home) is State.COMPLETED


@pytest.mark.parametrize("key", ["o", "t", "r"])
async def test_one_key_takes_a_candidate_back_wherever_its_traffic_is_seen(
    home: Home, node: FakeNode, key: str
) -> None:
    """`u` in the pulse, the traffic and the rollouts is the undo of the rollout under way."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go(key)
        await arm(screen)
        await screen.press("u")
        assert "undo rollout 1 of support (r1 → r2, stepping, step 2/6)" in question(screen)
        assert "all traffic back to r1; the rollout ends" in question(screen)
        await screen.press("enter")
        await screen.until(lambda: "is aborted; all traffic of support is on r1" in screen.said)
        await screen.look()
        assert "aborted" not in screen.header, "what a person did needs nobody"
        await screen.press("u")
        assert "enter: do it" not in screen.said
    assert [verb for verb, *_ in node.asked] == ["rollouts.undo"]
    assert await state(home) is State.ABORTED


async def test_a_rollout_that_has_ended_is_undone_until_the_split_changes(
    tmp_path: Path, node: FakeNode
) -> None:
    """Once: after that `u` in the traffic is about the split again."""
    home = await made(tmp_path / "home", completed)
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("t")
        await arm(screen)
        assert "u undo  all traffic back to r1" in screen.text
        await screen.press("u")
        assert "undo rollout 1 of support (r1 → r2, completed" in screen.said
        await screen.press("enter")
        await screen.until(lambda: "is back on r1" in screen.said)
        await screen.look()
        await screen.press("u")
        assert "already back at r1 100 %, r2 0 %" in screen.said
    assert [verb for verb, *_ in node.asked] == ["rollouts.undo"]
    assert await state(home) is State.UNDONE


async def test_an_earlier_revision_is_gone_back_to_by_its_number(
    tmp_path: Path, node: FakeNode
) -> None:
    """The form begins with the one before; what is typed is confirmed with its release."""
    home = await made(tmp_path / "home", completed)
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("r")
        await arm(screen)
        await screen.press("U")
        assert "undo to 0" in screen.said
        await screen.press("ctrl+u")
        await screen.type("one")
        await screen.press("enter")
        assert "type the number of a revision" in screen.said
        await screen.press("ctrl+u")
        await screen.type("0")
        await screen.press("enter")
        assert "undo: support back to revision 0, r1, loaded first if it must be" in question(
            screen
        )
        await screen.press("enter")
        await screen.until(lambda: len(node.asked) == 1)
    [(verb, target, arguments, _)] = node.asked
    assert (verb, target, arguments) == ("rollouts.undo", "support", {"to_revision": 0})


def led(service: str, *, under_way: bool, undo: str = "back") -> snapshot.RolloutRow:
    """The newest rollout of a service."""
    return snapshot.RolloutRow(
        id=1, revision=1, service=service, strategy="canary", stable="r1", candidate="r2",
        state="stepping" if under_way else "completed", phase="", under_way=under_way, newest=True,
        step=None, steps=1, doing="", weight_bp=None, started_by="sara", moved_at_us=1, version=1,
        sentence="", until_us=None, following="", undo=undo, no_undo="" if undo else "it ended",
    )  # fmt: skip


def test_an_undo_that_names_no_service_is_about_the_only_one_that_can_be_meant() -> None:
    """Those under way come first; of several it says which, and does none of them."""
    healthy, done = led("search", under_way=False), led("translate", under_way=False, undo="")
    one = leading.undo([healthy, led("support", under_way=True), done])
    assert one is not None
    assert one.target == "support"
    both = leading.undo([led("chat", under_way=True), led("support", under_way=True)])
    assert both is not None
    assert both.unable == "several services have one (chat, support): choose it in rollouts (r)"
    assert leading.undo([done]) is None
    assert leading.undo([led("support", under_way=True)], "search") is None


async def test_an_undo_to_a_release_that_does_not_answer_says_so(tmp_path: Path) -> None:
    """The way back is a rollout then, which loads it first."""

    async def scene(world: World) -> None:
        await completed(world)
        await world.crash(worlds.STABLE)

    home = await made(tmp_path / "home", scene)
    async with pilot.at(pilot.program(home), 120) as screen:
        await screen.go("r")
        await arm(screen)
        await screen.press("u")
        assert "▲ r1 does not answer now:" in screen.said
        assert "A rollout loads it and switches then." in screen.said


async def test_harm_and_pauses_are_troubles_of_the_first_row(tmp_path: Path) -> None:
    """With the reason in the pulse; a rollout that continues by itself is none."""
    home = await made(tmp_path / "harmed", harmed)
    async with pilot.at(pilot.program(home), 120) as screen:
        assert "support r2 aborted: harm" in screen.header
        assert "Rollout 1 of support was aborted:" in screen.text
        await screen.go("r")
        assert "▲ Degraded" in screen.text
    later = Clock(populated_homes.NOW_US + 24 * 3_600 * populated_homes.SECOND_US)
    async with pilot.at(pilot.program(home, clock=later), 120) as screen:
        assert "aborted: harm" not in screen.header

    async def paused(world: World) -> None:
        await measuring(world)
        await world.ask("rollouts.pause", rollout=1)

    home = await made(tmp_path / "paused", paused)
    async with pilot.at(pilot.program(home), 120) as screen:
        assert "support r2 paused" in screen.header
        assert "ROLLOUT 1  support r1 → r2  Paused" in screen.text
    home = await made(tmp_path / "measuring", measuring)
    async with pilot.at(pilot.program(home), 120) as screen:
        assert "▲" not in screen.header


async def test_what_a_person_wrote_of_a_rollout_is_made_safe(tmp_path: Path) -> None:
    """The reason of a pause, in the list and in the tree."""

    async def scene(world: World) -> None:
        await measuring(world)
        await world.ask("rollouts.pause", rollout=1, reason="\x1b[2J[/foo]")

    async with pilot.at(pilot.program(await made(tmp_path / "home", scene))) as screen:
        await screen.go("r")
        assert "␛[2J[/foo]" in screen.text
        await screen.go("enter")
        await screen.press("end")
        assert "␛[2J[/foo]" in screen.text


async def test_a_box_without_rollouts_says_how_to_start_one(quiet_home: Home) -> None:
    """With the command; nothing is under the cursor then."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        await screen.go("r")
        assert "no rollouts yet: n in releases (v), or `paddock rollouts start" in screen.text
        await arm(screen)
        await screen.press("P")
        assert "there is no rollout under the cursor" in screen.said


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_a_rollout_as_a_tree(
    home: Home, snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    """A canary whose analysis waits for requests."""
    assert compared(snap_compare, pilot.program(home), size, "r", "enter")


def test_the_rollouts_of_a_box(home: Home, snap_compare: Callable[..., bool]) -> None:
    """The list, what it waits for, and the keys."""
    assert compared(snap_compare, pilot.program(home), (80, 24), "r")
