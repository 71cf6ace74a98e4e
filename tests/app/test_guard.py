"""The guard of one screen, and the talk above its keys."""

from __future__ import annotations

import pytest

from app.guard import ARMED_US, Guard
from app.prompt_line import PromptLine
from app.snapshot import Header, Node, Person
from app.widgets import palette

NOW = 1_000_000_000_000


def house(role: str = "operator", node: Node = Node.UP) -> Header:
    """A house line with somebody in it."""
    return Header(host="box01", person=Person(name="sara", role=role), node=node)


def test_armed_is_armed_for_a_quarter_of_an_hour() -> None:
    """To the microsecond, and not a moment before it was armed."""
    guard = Guard()
    assert guard.left_us(NOW) is None
    assert guard.arm(house(), NOW) == ""
    assert guard.left_us(NOW + ARMED_US - 1) == 1
    assert guard.left_us(NOW + ARMED_US) is None
    guard.arm(house(), NOW)
    assert guard.left_us(NOW - 1) is None


@pytest.mark.parametrize(
    ("role", "node", "said"),
    [("viewer", Node.UP, "you are viewer"), ("", Node.UP, "you are nobody"),
     ("admin", Node.DOWN, "node is down"), ("admin", Node.ASKING, "has not answered"),
     ("admin", Node.ABSENT, "no box here")],
)  # fmt: skip
def test_who_may_not_change_anything_is_told_why(role: str, node: Node, said: str) -> None:
    """Both when arming and for each change."""
    guard = Guard()
    assert said in guard.arm(house(role, node), NOW)
    assert said in guard.refusal(house(role, node), NOW, loaded=True)
    assert guard.left_us(NOW) is None


def test_a_change_needs_an_armed_screen_that_is_loaded() -> None:
    """The reason says what to press."""
    guard = Guard()
    assert ":rw" in guard.refusal(house(), NOW, loaded=True)
    guard.arm(house(), NOW)
    assert guard.refusal(house(), NOW, loaded=True) == ""
    assert guard.refusal(house(), NOW, loaded=False) == "still loading"
    guard.disarm()
    assert ":rw" in guard.refusal(house(), NOW, loaded=True)


def test_a_question_takes_enter_or_esc_and_nothing_else() -> None:
    """No letter, no paste and no second enter does what was asked."""
    talk, done = PromptLine(), list[str]()
    talk.ask("effect", lambda: done.append("done"))
    talk.key("y", "y")
    talk.paste("\n")
    assert talk.busy
    assert palette.text(talk.rows("pulse", 80)[0]).startswith(" effect ")
    talk.key("escape", None)
    talk.key("enter", None)
    assert (done, talk.busy) == ([], False)
    talk.ask("effect", lambda: done.append("done"))
    talk.key("enter", None)
    talk.key("enter", None)
    assert done == ["done"]


def test_what_was_said_stays_until_a_key_and_a_line_until_it_ends() -> None:
    """A line that is typed is not pushed away by what is said meanwhile."""
    talk, typed = PromptLine(), list[str]()
    talk.say("said", "good")
    assert palette.text(talk.rows("pulse", 80)[0]) == " said"
    talk.ask_line(":", "r", "hint", typed.append)
    talk.key("w", "w")
    talk.say("meanwhile")
    assert palette.text(talk.rows("pulse", 80)[0]).startswith(" :rw")
    talk.key("enter", None)
    assert typed == ["rw"]
    talk.quiet()
    assert palette.text(talk.rows("pulse", 80)[0]) == " pulse"
