"""The guard of one screen, and the row above its keys."""

from __future__ import annotations

import pytest

from app.guard import ARMED_US, Guard
from app.prompt_line import PromptLine
from app.snapshot import Header, Node, Person
from app.widgets import palette

NOW = 1_000_000_000_000


def header(role: str = "operator", node: Node = Node.UP) -> Header:
    """A header with a person in it."""
    return Header(host="box01", person=Person(name="sara", role=role), node=node)


def test_armed_is_armed_for_a_quarter_of_an_hour() -> None:
    """To the microsecond, and not a moment before it was armed."""
    guard = Guard()
    assert guard.left_us(NOW) is None
    assert guard.arm(header(), NOW) == ""
    assert guard.left_us(NOW + ARMED_US - 1) == 1
    assert guard.left_us(NOW + ARMED_US) is None
    guard.arm(header(), NOW)
    assert guard.left_us(NOW - 1) is None


@pytest.mark.parametrize(
    ("role", "node", "said"),
    [("viewer", Node.UP, "you are viewer"), ("", Node.UP, "you have no role"),
     ("admin", Node.DOWN, "node is down"), ("admin", Node.ASKING, "has not answered"),
     ("admin", Node.ABSENT, "no box here")],
)  # fmt: skip
def test_without_the_right_to_change_the_reason_is_said(role: str, node: Node, said: str) -> None:
    """Both when arming and for each change."""
    guard = Guard()
    assert said in guard.arm(header(role, node), NOW)
    assert said in guard.refusal(header(role, node), NOW, loaded=True)
    assert guard.left_us(NOW) is None


def test_a_change_needs_an_armed_screen_that_is_loaded() -> None:
    """The reason says what to press."""
    guard = Guard()
    assert ":rw" in guard.refusal(header(), NOW, loaded=True)
    guard.arm(header(), NOW)
    assert guard.refusal(header(), NOW, loaded=True) == ""
    assert guard.refusal(header(), NOW, loaded=False) == "still loading"
    guard.disarm()
    assert ":rw" in guard.refusal(header(), NOW, loaded=True)


def test_a_question_takes_enter_or_esc_and_nothing_else() -> None:
    """No letter, no paste, no second enter and no enter before it is drawn."""
    line, done = PromptLine(), list[str]()
    line.ask("effect", lambda: done.append("done"))
    line.drawn(line.undrawn)
    line.key("y", "y")
    line.paste("\n")
    assert line.busy
    assert palette.text(line.rows("pulse", 80)[0]).startswith(" effect ")
    line.key("escape", None)
    line.key("enter", None)
    assert (done, line.busy) == ([], False)
    line.ask("effect", lambda: done.append("done"))
    line.key("enter", None)
    assert done == []
    line.drawn(line.undrawn)
    line.key("enter", None)
    line.key("enter", None)
    assert done == ["done"]


def test_what_was_said_stays_until_a_key_and_a_line_until_it_ends() -> None:
    """A line that is typed is not pushed away by what is said meanwhile."""
    line, typed = PromptLine(), list[str]()
    line.say("said", "good")
    assert palette.text(line.rows("pulse", 80)[0]) == " said"
    line.ask_line(":", "r", "hint", typed.append)
    line.key("w", "w")
    line.say("meanwhile")
    assert palette.text(line.rows("pulse", 80)[0]).startswith(" :rw")
    line.key("enter", None)
    assert typed == ["rw"]
    line.quiet()
    assert palette.text(line.rows("pulse", 80)[0]) == " pulse"
