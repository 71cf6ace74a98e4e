"""Arguments that are not valid UTF-8."""

from __future__ import annotations

import pytest

from app import errors, terminal


def test_an_argument_that_is_not_utf_8_is_refused_in_a_sentence() -> None:
    """A byte that is not UTF-8 arrives as half a surrogate pair, which no file can hold."""

    async def look() -> bytes:
        return "requests \udc9b".encode()

    with pytest.raises(errors.BadWord, match="not UTF-8"):
        terminal.run(look())
