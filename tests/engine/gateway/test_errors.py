"""What everybody may read of a reason."""

from __future__ import annotations

import pytest

from engine.gateway import errors


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("/srv/box/paddock.db is damaged (x).", "paddock.db is damaged (x)."),
        ("no such adapter at '/srv/a/b-1.gguf'; look", "no such adapter at 'b-1.gguf'; look"),
        ("Free space in /srv/box/ and try", "Free space in box and try"),
        ("3 tokens/s and/or more", "3 tokens/s and/or more"),
    ],
)
def test_a_file_is_named_without_its_folder(said: str, shown: str) -> None:
    """Clients do not see the folders of the box."""
    assert errors.outside(said) == shown
