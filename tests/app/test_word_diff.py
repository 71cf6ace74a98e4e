"""The word diff of prompts: exact, readable, and safe whatever the templates hold."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app import word_diff
from app.word_diff import Change, Piece, Section
from storage.prompts import Message, PromptVersion, Variable

texts = st.text(max_size=80) | st.lists(
    st.sampled_from(["a", "b c", "", "\t", "d.", "\x1b[2J", "[/x]"]), max_size=20
).map("\n".join)


def version(*templates: str, **more: Any) -> PromptVersion:
    """A version with these system messages."""
    usual: dict[str, Any] = {
        "id": 1, "prompt": "terse", "number": 1, "variables": (), "sha256": "", "author": "a",
        "messages": tuple(Message(role="system", template=each) for each in templates),
        "comment": "", "created_at_us": 1,
    }  # fmt: skip
    return PromptVersion(**usual | more)


@given(before=texts, after=texts)
def test_the_pieces_are_both_texts(before: str, after: str) -> None:
    """What was not added is the first, what was not removed the second, exactly."""
    pieces = word_diff.words(before, after)
    assert "".join(p.text for p in pieces if p.change is not Change.ADDED) == before
    assert "".join(p.text for p in pieces if p.change is not Change.REMOVED) == after
    assert all(piece.text for piece in pieces)
    if before == after:
        assert {piece.change for piece in pieces} <= {Change.SAME}


@given(before=texts, after=texts)
def test_every_changed_character_is_in_a_row(before: str, after: str) -> None:
    """Unchanged lines may be left out, changed ones never."""
    pieces = word_diff.words(before, after)
    rows = word_diff.lines(Section("t", pieces))
    for change in (Change.ADDED, Change.REMOVED):
        shown = "".join(p.text for row in rows for p in row if p.change is change)
        told = "".join(p.text for p in pieces if p.change is change).replace("\n", "")
        assert shown == told


def test_one_word_in_a_line_is_one_word() -> None:
    """Not the whole line."""
    pieces = word_diff.words("Answer in one short sentence.", "Answer in one long sentence.")
    assert pieces == (
        Piece(Change.SAME, "Answer in one "),
        Piece(Change.REMOVED, "short"),
        Piece(Change.ADDED, "long"),
        Piece(Change.SAME, " sentence."),
    )
    assert word_diff.marked(pieces) == "Answer in one [-short-]{+long+} sentence."


def test_long_unchanged_parts_are_left_out_with_their_length() -> None:
    """Two lines around a change stay."""
    lines = [f"line {n}" for n in range(20)]
    changed = [*lines[:10], "another", *lines[11:]]
    rows = word_diff.lines(Section("t", word_diff.words("\n".join(lines), "\n".join(changed))))
    assert [word_diff.marked(row) for row in rows] == [
        "… 8 unchanged lines", "line 8", "line 9", "[-line 10-]{+another+}", "line 11", "line 12",
        "… 7 unchanged lines",
    ]  # fmt: skip


def test_a_text_that_changed_throughout_is_replaced_whole() -> None:
    """Comparing its words would take for ever and show nothing."""
    before, after = (" ".join(f"{sign}{n}" for n in range(20_000)) for sign in "ab")
    pieces = word_diff.words(before, after)
    assert [piece.change for piece in pieces] == [Change.REMOVED, Change.ADDED]


def test_each_part_that_differs_is_a_section() -> None:
    """Messages by their place, variables and the response schema; the rest is no content."""
    old = version("one", "two", comment="x")
    assert word_diff.versions(old, version("one", "two", comment="y", number=2)) == ()
    new = version(
        "one",
        variables=(Variable(name="tone", type="string", default="kind"),),
        response_schema={"type": "object"},
    )
    found = {section.title: section.pieces for section in word_diff.versions(old, new)}
    assert found["message 2 (system)"] == (Piece(Change.REMOVED, "two"),)
    assert found["variables"] == (Piece(Change.ADDED, "tone: string, default 'kind'\n"),)
    assert list(found) == ["message 2 (system)", "variables", "response schema"]
    said = version(messages=(Message(role="user", template="one"),))
    (section,) = word_diff.versions(version("one"), said)
    assert section.title == "message 1 (system → user)"
