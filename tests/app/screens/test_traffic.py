"""Traffic: weights are changed by people who mean it, and never on a row that moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from storage import intents, models, services
from storage import store as stores
from storage.control_socket import client, verbs
from storage.home.paths import Home
from tests.app import pilot, populated_homes
from tests.app.pilot import Clock, FakeNode, RunningScreen


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box of this test's own, in which the split may change."""

    async def scene(store: stores.Store) -> None:
        await populated_homes.quiet(store)
        await store.write(lambda s: populated_homes.split(s, "support", {1: 9_000, 2: 1_000}, 60))

    return populated_homes.make(tmp_path / "home", scene)


async def armed(screen: RunningScreen) -> None:
    """Go to the traffic and allow changes."""
    await screen.go("t")
    await screen.press("colon")
    await screen.type("rw")
    await screen.press("enter")


async def weights(home: Home) -> Mapping[int, int]:
    """The split in the store."""
    store = await stores.open(home, readonly=True)
    try:
        async with store.read() as s:
            found = await services.find(s, "support")
            return {arm.release: arm.weight_bp for arm in found.split.arms}
    finally:
        await store.close()


async def test_a_read_only_screen_changes_nothing_and_says_why(home: Home, node: FakeNode) -> None:
    """Keys of changes stay visible with their reason."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("t")
        assert " s split  u undo  read-only: :rw first" in screen.text
        await screen.press("s")
        assert screen.said == " Not done: read-only: :rw first."
    assert node.asked == []


async def test_a_split_is_typed_confirmed_and_reported(home: Home, node: FakeNode) -> None:
    """The effect is shown arm by arm, and the intent has the version that was seen."""
    async with pilot.at(pilot.program(home)) as screen:
        await armed(screen)
        await screen.press("s")
        assert screen.said.startswith(" split r1=90 r2=10")
        await screen.press("ctrl+u")
        await screen.type("r1=50 r2=50")
        await screen.press("enter")
        assert "split: support  r1 90 % → 50 %  r2 10 % → 50 %" in screen.said
        assert node.asked == []
        await screen.press("enter")
        await screen.until(lambda: "support: r1 50 %, r2 50 %" in screen.said)
        await screen.until(lambda: "set now r1 50 %" in screen.text)
    wanted = {"arms": {"r1": 5_000, "r2": 5_000}}
    assert node.asked == [("services.split", "support", wanted, 2)]
    assert await weights(home) == {1: 5_000, 2: 5_000}


async def test_the_reason_that_is_typed_is_the_intents(home: Home, node: FakeNode) -> None:
    """The question shows the effect, and asks why; the answer is in the store."""
    async with pilot.at(pilot.program(home)) as screen:
        await armed(screen)
        await screen.press("u")
        assert "undo: support  r1 90 % → 100 %  r2 10 % → 0 %" in screen.said
        assert "reason" in screen.said
        await screen.type("errors on r2")
        await screen.press("enter")
        await screen.until(lambda: "set now r1 100 %" in screen.text)
    store = await stores.open(home, readonly=True)
    try:
        async with store.read() as s:
            assert (await intents.tail(s, 1))[0].reason == "errors on r2"
    finally:
        await store.close()
    assert len(node.asked) == 1


async def test_what_is_hard_to_reverse_is_done_by_typing_its_name(
    home: Home, node: FakeNode
) -> None:
    """As the table says of the action, wherever a place offers it."""
    async with pilot.at(pilot.program(home)) as screen:
        await armed(screen)
        undo = screen.app.table["services.undo"]
        hard = replace(undo, danger=verbs.Danger.HARD)
        screen.app.table = {**screen.app.table, "services.undo": hard}
        await screen.press("u")
        assert "type support" in screen.said
        await screen.type("supper")
        await screen.press("enter")
        assert screen.said == " Not done: that is not support."
        assert node.asked == []
        await screen.press("u")
        await screen.type("support")
        await screen.press("enter")
        await screen.until(lambda: "set now r1 100 %" in screen.text)


async def test_undo_puts_back_the_split_before(home: Home, node: FakeNode) -> None:
    """It says what that was, and a second `u` finds it back already."""
    async with pilot.at(pilot.program(home)) as screen:
        await armed(screen)
        await screen.press("u")
        assert "undo: support  r1 90 % → 100 %  r2 10 % → 0 %" in screen.said
        await screen.press("enter")
        await screen.until(lambda: "set now r1 100 %" in screen.text)
        await screen.press("u")
        assert "Not done: support is already back at" in screen.said
    assert [verb for verb, *_ in node.asked] == ["services.undo"]
    assert await weights(home) == {1: 10_000}


async def test_a_service_that_moved_meanwhile_is_not_hit(home: Home, node: FakeNode) -> None:
    """Another operator was quicker: what was seen is checked again, and nothing changes."""
    async with pilot.at(pilot.program(home)) as screen:
        await armed(screen)
        await screen.press("u")
        await node.ask(home, "services.split", "support", {"arms": {"r1": 7_000, "r2": 3_000}})
        await screen.press("enter")
        await screen.until(lambda: "▲" in screen.said)
    assert node.asked[-1][-1] == 2
    assert await weights(home) == {1: 7_000, 2: 3_000}


async def test_esc_closes_a_form_and_a_question(home: Home, node: FakeNode) -> None:
    """Nothing was asked of the control socket, and esc still leads back."""
    async with pilot.at(pilot.program(home)) as screen:
        await armed(screen)
        for key in ("s", "u"):
            await screen.press(key, "escape")
            assert screen.said == " pulse › traffic"
        await screen.press("escape")
        assert screen.place.where == "pulse"
    assert node.asked == []


WRONG = {
    "r1=50 r2=40": "add up to 90 %",
    "r1=ninety r2=1": "'r1=ninety' is not RELEASE=PERCENT",
    "r1": "not RELEASE=PERCENT",
    "r1=50 r1=50": "r1 is named twice",
    "r1=90 r2=10": "the current split",
    "r1=50.001 r2=49.999": "not RELEASE=PERCENT",
    "abcdef1=100": "here releases go by number",
}


async def test_what_is_not_a_split_can_be_corrected(home: Home, node: FakeNode) -> None:
    """The line stays as it was typed, with the reason beside it."""
    async with pilot.at(pilot.program(home), 120) as screen:
        await armed(screen)
        await screen.press("s")
        for typed, said in WRONG.items():
            await screen.press("ctrl+u")
            await screen.type(typed)
            await screen.press("enter")
            assert said in screen.said
            assert f"split {typed}" in screen.said
    assert node.asked == []


async def test_a_question_that_stood_too_long_is_not_obeyed(home: Home, node: FakeNode) -> None:
    """Armed is armed for a quarter of an hour, also for what was asked within it."""
    clock = Clock()
    async with pilot.at(pilot.program(home, clock=clock)) as screen:
        await armed(screen)
        await screen.press("u")
        clock.pass_s(901)
        await screen.press("enter")
        assert "read-only" in screen.said
    assert node.asked == []


async def test_a_node_that_died_refuses_in_a_sentence(home: Home, node: FakeNode) -> None:
    """What the control socket refuses is shown; the screen keeps running."""
    async with pilot.at(pilot.program(home)) as screen:
        await armed(screen)
        await screen.press("u")
        node.down = True
        await screen.press("enter")
        await screen.until(lambda: "▲ not done:" in screen.said)
        assert "paddock serve" in screen.said
    assert await weights(home) == {1: 9_000, 2: 1_000}


async def test_what_is_not_carried_out_is_not_reported_as_done(
    home: Home, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With control down an intent waits: the screen warns, and names the part."""

    async def at_once(store: stores.Store, id: int, _: float) -> intents.Intent:
        async with store.read() as s:
            return await intents.find(s, id)

    monkeypatch.setattr(client, "wait", at_once)
    node.alone = True
    async with pilot.at(pilot.program(home)) as screen:
        await armed(screen)
        await screen.press("u", "enter")
        await screen.until(lambda: "▲ Stored as intent" in screen.said)
        assert "not carried out yet: control is ready" in screen.said
    assert await weights(home) == {1: 9_000, 2: 1_000}


async def test_a_viewer_learns_who_may(home: Home, node: FakeNode) -> None:
    """Arming needs a role that acts."""
    node.role = "viewer"
    async with pilot.at(pilot.program(home)) as screen:
        await armed(screen)
        assert "you are viewer here" in screen.said
        assert " RO " in screen.header


async def test_a_release_whose_file_is_gone_gets_no_traffic(home: Home, node: FakeNode) -> None:
    """The screen says so before it asks; what is loaded first is said with the effect."""
    store = await stores.open(home)

    async def lose(s: stores.Session) -> None:
        (await s.get_one(models.ModelRow, 2)).path = "/nowhere/ops.gguf"

    await store.write(lose)
    await store.close()
    async with pilot.at(pilot.program(home), 120, 40) as screen:
        await armed(screen)
        await screen.press("s", "ctrl+u")
        await screen.type("r1=50 r2=50")
        await screen.press("enter")
        assert "r2 cannot answer: the file of ops@1.1.0 is missing" in screen.said
        await screen.press("ctrl+u")
        await screen.type("r1=95 r2=5")
        await screen.press("enter")
        assert "r1 does not answer yet: ops-1.0.0 is not loaded" in screen.said
    assert node.asked == []


@pytest.fixture
def rolled_back(tmp_path: Path) -> Home:
    """A box under load that went back to one release a second ago."""

    async def scene(store: stores.Store) -> None:
        await populated_homes.busy(store)
        await store.write(lambda s: populated_homes.split(s, "support", {1: 10_000}, 1))

    return populated_homes.make(tmp_path / "home", scene)


@pytest.mark.usefixtures("node")
async def test_an_arm_that_was_rolled_back_from_stays_while_it_is_in_the_window(
    rolled_back: Home,
) -> None:
    """With what it did; the total and the shares count it."""
    async with pilot.at(pilot.program(rolled_back)) as screen:
        assert "LIVE support r1" in screen.header
        (row,) = [each for each in screen.text.split("\n") if each.startswith(" r2 ")]
        assert row.split()[:4] == ["r2", "–", "11–21", "%"]
        assert "19 %" in row
        await screen.go("t")
        await screen.press("down")
        assert "which has left the split: 33 requests" in screen.text
