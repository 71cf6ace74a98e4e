"""What a terminal sends in one go is read as the keys that were pressed."""

from __future__ import annotations

import pytest
from textual import events

from app import joined_keys


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("\x1b\r", ["escape", "enter"]),
        ("\x1bu", ["escape", "u"]),
        ("\x1b:", ["escape", "colon"]),
        ("\x1b ", ["escape", "space"]),
        ("\x1b[A", ["up"]),
        ("u", ["u"]),
    ],
)
def test_esc_joined_with_a_key_is_esc_and_that_key(sent: str, keys: list[str]) -> None:
    """Enter above all: alone it agrees to the question that esc was to cancel."""
    parser = joined_keys.Parser()
    found = [*parser.feed(sent), *parser.feed("")]  # nothing follows: it is no longer sequence
    assert [each.key for each in found if isinstance(each, events.Key)] == keys
