"""`paddock serve`: what it says before it becomes the node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.commands import serve
from storage.home import identity
from storage.home.identity import Identity
from storage.home.paths import Home


def test_a_data_directory_without_a_store_is_said_to_become_a_new_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one with the store may have been moved, or may not be mounted."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))

    class Replaced(Exception):
        """The process is the node from here on."""

    def execv(*_: object) -> None:
        raise Replaced

    monkeypatch.setattr(os, "execv", execv)
    for begun in (False, True):
        with pytest.raises(Replaced):
            serve.serve(detach=False)
        said = capsys.readouterr().out
        assert (f"There is no store in {home.root}: this start makes a new" in said) is not begun
        identity.write(home, Identity("1" * 32))
