"""Releases on the screen: where each is live, what distinguishes two, a rollout or split to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app import words
from storage import releases, retired_releases, rollouts, services
from storage import store as stores
from storage.home.paths import Home
from storage.processes import Kind, State
from storage.release_content import Engine, Sampling
from storage.rollout_steps import Strategy
from storage.store import Session, Store
from tests.app import pilot, populated_homes
from tests.app.pilot import FakeNode, RunningScreen
from tests.app.test_snapshots import compared
from tests.storage import fixtures

pytestmark = pytest.mark.usefixtures("node")


async def scene(store: Store) -> None:
    """Three releases of one model; the first answers support, whose texts are recorded."""

    async def work(s: Session) -> None:
        await populated_homes.node(s)
        weights = await fixtures.model(s)
        prompt = await fixtures.prompt(s)
        await fixtures.release(s, weights, None, prompt)
        await fixtures.release(s, weights, None, prompt, sampling=Sampling(temperature=0.2))
        await releases.create(
            s, model_version=weights, prompt_version=None, sampling=Sampling(temperature=0.2),
            limits=releases.Limits(max_tokens=64), engine=Engine(context_tokens=512),
            comment=populated_homes.HOSTILE, actor="lee", at_us=populated_homes.NOW_US,
        )  # fmt: skip
        await services.create(
            s, name="support", release=1, record_text=False, actor="sara", at_us=4
        )
        await populated_homes.part(s, "ops-1.0.0:1", Kind.WORKER, State.READY)

    await store.write(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with those releases."""
    return populated_homes.make(tmp_path / "home", scene)


async def arm(screen: RunningScreen) -> None:
    """Allow changes from this screen."""
    await screen.press("colon")
    await screen.type("rw")
    await screen.press("enter")


async def test_releases_are_listed_with_where_they_are_live(home: Home) -> None:
    """Newest first; below, what distinguishes the one under the cursor from what answers now."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("v")
        rows = screen.text.split("\n")
        assert "3 releases, 1 live" in rows[1]
        assert [row[1:].split()[0] for row in rows[3:6]] == ["r3", "r2", "r1"]
        assert "● support 100 %" in rows[5]
        assert "r1 → r3  (answers support)" in screen.text
        assert "sampling.temperature   0.7 → 0.2" in screen.text
        assert "limits.max_tokens      256 → 64" in screen.text
        assert "nowhere" in screen.text
        assert max(map(words.width, rows)) <= 80
    async with pilot.at(pilot.program(home), 160) as screen:
        await screen.go("v")
        assert "␛]0;owned␇" in screen.text


async def test_retired_releases_are_counted_and_not_listed(home: Home) -> None:
    """`paddock releases list --all` has them."""
    store = await stores.open(home)

    async def retire(s: Session) -> None:
        second = await releases.get(s, 2)
        await retired_releases.add(
            s, second, actor="sara", reason="", at_us=populated_homes.NOW_US, intent_id=None
        )

    await store.write(retire)
    await store.close()
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("v")
        rows = screen.text.split("\n")
        assert "2 releases, 1 live, 1 retired" in rows[1]
        assert [row[1:].split()[0] for row in rows[3:5]] == ["r3", "r1"]


async def test_any_release_can_be_what_the_others_are_compared_with(home: Home) -> None:
    """`d` marks it; esc takes the mark away before it leads back."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("v")
        await screen.press("down", "d")
        assert "Releases are compared with r2 now" in screen.said
        await screen.press("up")
        assert "compared with r2" in screen.text
        assert "r2 → r3  (marked)" in screen.text
        assert "sampling.temperature" not in screen.text
        await screen.press("escape")
        assert screen.place.where == "releases"
        assert "r1 → r3  (answers support)" in screen.text


async def test_a_rollout_is_started_to_the_release_under_the_cursor(
    home: Home, node: FakeNode
) -> None:
    """Service, strategy and steps are typed; the effect has all of the steps and the guards."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("v")
        await screen.press("down", "n")
        assert "Not done: read-only: :rw first." in screen.said
        await arm(screen)
        await screen.press("n")
        assert " start support canary" in screen.said
        await screen.type(" 10, 100 guards error_rate<=2%, latency_p95<=800ms")
        await screen.press("enter")
        said = " ".join(screen.said.split())
        assert "start: support r1 → r2, canary: 10 %, analysis of at most 1 h, 100 %" in said
        assert "guards error_rate<=2%, latency_p95<=800ms" in said
        await screen.press("enter")
        await screen.until(lambda: "Started rollout 1 of support" in screen.said)
        await screen.until(lambda: "candidate of rollout 1" in screen.text)
        await screen.press("n", "enter")
        assert "support is owned by rollout 1" in screen.said
        await screen.press("escape", "up")
    [(verb, target, arguments, _)] = node.asked
    assert (verb, target, arguments["release"]) == ("rollouts.start", "support", "r2")
    store = await stores.open(home, readonly=True)
    try:
        async with store.read() as s:
            led = await rollouts.latest(s, "support")
    finally:
        await store.close()
    assert led is not None
    assert (led.candidate, led.strategy, len(led.steps)) == (2, Strategy.CANARY, 4)


WRONG = {
    "support": "Type a strategy after the service: blue-green, canary",
    "support carefully": "Type a strategy after the service",
    "support canary 5, 50": "The last weight of a rollout is 100 %, not 50 %",
    "support canary five": "'five' is not a step",
    "support canary mirror 10%, 100": "Only a shadow mirrors requests",
    "support canary guards speed<=2": "'speed<=2'",
    "support canary then canary": "Only a shadow continues as another strategy",
    "support shadow then shadow": "canary",
}


async def test_what_is_no_rollout_can_be_corrected(home: Home, node: FakeNode) -> None:
    """The line stays as it was typed, with the reason beside it."""
    async with pilot.at(pilot.program(home), 140) as screen:
        await screen.go("v")
        await arm(screen)
        await screen.press("n")
        for typed, said in WRONG.items():
            await screen.press("ctrl+u")
            await screen.type(typed)
            await screen.press("enter")
            assert said in screen.said
            assert f"start {typed}" in screen.said
        await screen.press("escape", "end", "n", "enter")
        assert "r1 is the stable release of support" in screen.said
        await screen.press("ctrl+u")
        await screen.type("chat blue-green")
        await screen.press("enter")
        assert "start: creates the service chat, which r1 answers at once" in screen.said
    assert node.asked == []


async def test_a_split_by_hand_begins_with_the_release_in_it(home: Home, node: FakeNode) -> None:
    """At 0 %, beside the current weights; then it is the split of the traffic."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("v")
        await arm(screen)
        await screen.press("down", "s")
        assert " split support r1=100 r2=0" in screen.said
        await screen.press("ctrl+u")
        await screen.type("nothing r1=100")
        await screen.press("enter")
        assert "there is no service 'nothing': support" in screen.said
        await screen.press("ctrl+u")
        await screen.type("support r1=90 r2=10")
        await screen.press("enter")
        assert "split: support  r1 100 % → 90 %  r2 0 % → 10 %" in screen.said
        await screen.press("enter")
        await screen.until(lambda: "● support 10 %" in screen.text)
        await screen.press("n", "enter")
        assert "support is split (r1 90 %, r2 10 %)" in screen.said
    assert node.asked == [("services.split", "support", {"arms": {"r1": 9_000, "r2": 1_000}}, 1)]


async def test_a_box_without_releases_says_how_to_make_one(tmp_path: Path) -> None:
    """With the command."""
    store = await stores.open(Home(tmp_path / "home"))
    await store.write(populated_homes.node)
    await store.close()
    async with pilot.at(pilot.program(Home(tmp_path / "home"))) as screen:
        await screen.go("v")
        assert "no releases yet: `paddock releases create --model" in screen.text
        await screen.press("d")
        assert "There is no release under the cursor." in screen.said


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_the_releases_of_a_box(
    home: Home, snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    """Three of them, one live."""
    assert compared(snap_compare, pilot.program(home), size, "v")
