"""Prompts on the screen: versions and labels, the difference by words, labels moved and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app import words
from app.screens import prompt as place
from app.widgets import palette
from storage import prompt_labels, prompts
from storage import store as stores
from storage.home.paths import Home
from storage.prompts import Message, Variable
from storage.store import Session, Store
from tests.app import pilot, populated_homes
from tests.app.pilot import FakeNode, RunningScreen
from tests.app.test_snapshots import compared
from tests.storage import fixtures

pytestmark = pytest.mark.usefixtures("node")

TEXTS = (
    "You answer tickets. Be helpful.",
    "You answer tickets. Be terse and exact.\nSign as {{ team }}.",
    "You answer tickets. Be terse, exact and kind.\nSign as {{ team }}.",
)


async def scene(store: Store) -> None:
    """Three versions of `answer`: production at the second, beta at the third; one release."""
    records = await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await populated_homes.node(s)
        for number, text in enumerate(TEXTS, 1):
            team = Variable(name="team", required=True)
            version = await prompts.add(
                s, prompt="answer", messages=[Message(role="system", template=text)],
                variables=[team] if number > 1 else [], author="sara",
                comment=f"{populated_homes.HOSTILE[:12]} {number}",
                at_us=populated_homes.NOW_US - number * 3_600 * populated_homes.SECOND_US,
            )  # fmt: skip
            if number == 2:
                await fixtures.release(s, records.weights, None, version)
        for label, number in (("production", 1), ("production", 2), ("beta", 3)):
            await prompts.label(s, "answer", label, number, "sara", 5)

    await store.write(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with those versions."""
    return populated_homes.make(tmp_path / "home", scene)


async def arm(screen: RunningScreen) -> None:
    """Allow changes from this screen."""
    await screen.press("colon")
    await screen.type("rw")
    await screen.press("enter")


async def to(screen: RunningScreen, name: str) -> None:
    """Go to the prompts, with the cursor on a version that has been read."""
    await screen.go("p")
    await screen.until(lambda: "▸" in screen.text)
    await screen.press("home")
    for _ in range(10):
        if f"▸{name}" in screen.text:
            break
        await screen.press("down")
    await screen.until(lambda: f"─ {name} ─" in screen.text and "not read yet" not in screen.text)
    await screen.settle()


async def labels(home: Home) -> dict[str, int]:
    """The labels of `answer` in the store."""
    store = await stores.open(home, readonly=True)
    try:
        async with store.read() as s:
            return await prompts.labels(s, "answer")
    finally:
        await store.close()


async def test_versions_are_listed_with_their_labels_and_uses(home: Home) -> None:
    """Newest first; below, the labels, the uses and the parent of the one under the cursor."""
    async with pilot.at(pilot.program(home)) as screen:
        await to(screen, "answer@2")
        text = screen.text
        rows = text.split("\n")
        assert max(map(words.width, rows)) <= 80
        names = [row[1:].split()[0] for row in rows[3:7]]
        assert names == ["answer@3", "answer@2", "answer@1", "terse@1"]
        assert "production" in next(row for row in rows if row.startswith("▸answer@2"))
        assert "used     r3, in no service" in text
        assert "parent   answer@1" in text
        assert "␛]0;owned" in text


async def test_a_version_shows_what_differs_by_words(home: Home) -> None:
    """From what production points at; removed and added words are marked, not only coloured."""
    async with pilot.at(pilot.program(home), height=40) as screen:
        await to(screen, "answer@3")
        await screen.go("enter")
        await screen.until(lambda: "DIFFERENCE" in screen.text)
        assert "answer@2 → answer@3" in screen.text
        assert "Be terse{+, exact+} and [-exact-]{+kind+}." in screen.text
        assert "[system]" in screen.text
        assert "variable team: string, required" in screen.text
        await screen.press("escape")
        await to(screen, "answer@1")
        await screen.press("d")
        assert "Versions are compared with answer@1 now" in screen.said
        await to(screen, "answer@3")
        await screen.go("enter")
        await screen.until(lambda: "answer@1 → answer@3" in screen.text)


async def test_a_label_is_moved_and_moved_back(home: Home, node: FakeNode) -> None:
    """Typed, confirmed with its effect and what clients must send from now on; undone once."""
    async with pilot.at(pilot.program(home)) as screen:
        await to(screen, "answer@3")
        await screen.press("L")
        assert "Not done: read-only: :rw first." in screen.said
        await arm(screen)
        await screen.press("L")
        assert screen.said.startswith(" label production")
        await screen.press("enter")
        assert "label: answer:production answer@2 → answer@3" in screen.said
        await screen.press("enter")
        await screen.until(lambda: "answer:production is answer@3" in screen.said)
        assert (await labels(home))["production"] == 3
        await screen.until(lambda: "beta, production" in screen.text)
        await screen.press("u")
        assert "undo beta" in screen.said, "two labels are here, so it asks which"
        await screen.press("ctrl+u")
        await screen.type("production")
        await screen.press("enter")
        assert "undo: answer:production answer@3 → answer@2" in screen.said
        await screen.press("enter")
        await screen.until(
            lambda: "answer:production is answer@2 (before: answer@3)" in screen.said
        )
        assert (await labels(home))["production"] == 2
        await to(screen, "answer@2")
        await screen.press("u")
        assert "answer:production is back at answer@2 already" in screen.said
    assert [verb for verb, *_ in node.asked] == ["prompts.label", "prompts.undo"]
    assert node.asked[0][2:] == ({"label": "production", "number": 3}, 2)


async def test_what_a_move_would_break_is_said_before_it(home: Home) -> None:
    """A version that needs a variable that requests do not send yet."""
    store = await stores.open(home)
    try:
        await store.write(lambda s: prompts.label(s, "answer", "old", 1, "sara", 9))
    finally:
        await store.close()
    async with pilot.at(pilot.program(home)) as screen:
        await to(screen, "answer@3")
        await arm(screen)
        await screen.press("L", "ctrl+u")
        await screen.type("old")
        await screen.press("enter")
        said = " ".join(screen.said.split())
        assert "▲ Requests without team are refused from now on." in said


WRONG = {
    "latest": "`latest` moves by itself",
    "Not A Label": "names have 1 to 36 characters",
    "production": "answer:production is at answer@2 already",
}


async def test_what_is_no_label_can_be_corrected(home: Home, node: FakeNode) -> None:
    """The line stays as it was typed; a new label is made."""
    async with pilot.at(pilot.program(home), 120) as screen:
        await to(screen, "answer@2")
        await arm(screen)
        await screen.press("L")
        for typed, said in WRONG.items():
            await screen.press("ctrl+u")
            await screen.type(typed)
            await screen.press("enter")
            assert said in screen.said
        await screen.press("ctrl+u")
        await screen.type("canary")
        await screen.press("enter")
        assert "label: answer:canary nothing → answer@2" in screen.said
        await screen.press("enter")
        await screen.until(lambda: "answer:canary is answer@2" in screen.said)
    assert len(node.asked) == 1
    assert (await labels(home))["canary"] == 2


async def test_a_protected_label_is_moved_by_admins_only(home: Home, node: FakeNode) -> None:
    """An operator is told so; an admin is asked like everybody."""
    store = await stores.open(home)

    async def protect(s: Session) -> None:
        await prompt_labels.protect(
            s, prompt="answer", label="production", on=True, actor="lee", at_us=9
        )

    try:
        await store.write(protect)
    finally:
        await store.close()
    for role, said in (("operator", "only admins move it"), ("admin", "answer@2 → answer@3")):
        node.role = role
        async with pilot.at(pilot.program(home), 120) as screen:
            await to(screen, "answer@3")
            await arm(screen)
            await screen.press("L", "enter")
            assert said in screen.said


async def test_the_list_is_filtered_and_the_filter_goes_first(home: Home) -> None:
    """By a part of a name, a label or a comment."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("p")
        await screen.press("slash")
        await screen.type("beta")
        await screen.press("enter")
        await screen.until(lambda: "all 1" in screen.text)
        assert "▸answer@3" in screen.text
        await screen.press("escape")
        await screen.until(lambda: "all 4" in screen.text)
        assert screen.place.where == "prompts"


async def test_a_frozen_list_offers_nothing_that_has_not_been_read(home: Home) -> None:
    """The snapshot that is frozen has one version in full; another one has to wait."""
    async with pilot.at(pilot.program(home)) as screen:
        await to(screen, "answer@2")
        await arm(screen)
        await screen.press("space", "down")
        assert "not read yet" in screen.text
        await screen.press("L")
        assert "Not done: there is no version under the cursor" in screen.said
        await screen.press("space")
        await screen.until(lambda: "not read yet" not in screen.text)


async def test_a_box_without_prompts_says_how_to_add_one(tmp_path: Path) -> None:
    """With the command."""
    store = await stores.open(Home(tmp_path / "home"))
    await store.write(populated_homes.node)
    await store.close()
    async with pilot.at(pilot.program(Home(tmp_path / "home"))) as screen:
        await screen.go("p")
        assert "no prompts yet: `paddock prompts add FILE --name NAME`" in screen.text


def test_a_row_of_pieces_is_broken_without_losing_a_word() -> None:
    """At spaces where there are some; the inks stay with their pieces."""
    line = (("one two ", ""), ("three", "bad"), (" four " + "x" * 30, "good"))
    rows = place.broken(line, 12)
    assert all(palette.length(row) <= 12 for row in rows)
    assert "".join(map(palette.text, rows)) == palette.text(line)
    assert ("three", "bad") in [piece for row in rows for piece in row]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_the_prompts_of_a_box(
    home: Home, snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    """Four versions, two labels."""
    assert compared(snap_compare, pilot.program(home), size, "p", "end", "up")


def test_a_prompt_in_full(home: Home, snap_compare: Callable[..., bool]) -> None:
    """The difference from production, and the text."""

    async def third(screen: RunningScreen) -> None:
        await to(screen, "answer@3")
        await screen.go("enter")
        await screen.until(lambda: "DIFFERENCE" in screen.text)

    assert compared(snap_compare, pilot.program(home), (80, 24), then=third)
