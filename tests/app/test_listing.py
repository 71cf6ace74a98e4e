"""Lists on the command line: aligned where there is room, sentences below their row elsewhere."""

from __future__ import annotations

from app import listing, words
from app.listing import Column

Entry = tuple[str, str]
COLUMNS: tuple[Column[Entry], ...] = (
    Column("WHO", lambda entry: entry[0]),
    Column("REASON", lambda entry: words.known(entry[1]), below=True),
    Column("STATE", lambda _: "applied"),
)
LONG = "the error rate of the new release went up after the deploy of this morning, back to the old"
ENTRIES = [("sara", LONG), ("lee", "")]


def test_a_sentence_goes_below_its_row_at_80_columns() -> None:
    """Nothing is cut, no line is wider than the terminal, and an unknown one takes no line."""
    lines = listing.table(COLUMNS, ENTRIES, 80)
    assert lines[:2] == ["WHO   STATE", "sara  applied"]
    assert lines[-1] == "lee   applied"
    below = lines[2:-1]
    assert all(line.startswith("    ") for line in below)
    assert max(map(words.width, lines)) <= 80
    assert " ".join(line.strip() for line in below) == f"reason: {LONG}"


def test_with_room_and_in_a_pipe_a_record_is_one_line() -> None:
    """Scripts cut lines."""
    for width in (200, None):
        lines = listing.table(COLUMNS, ENTRIES, width)
        assert [line.split()[0] for line in lines] == ["WHO", "sara", "lee"]
        assert LONG in lines[1]
