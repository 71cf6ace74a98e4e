"""Boxes to look at, and a door that knows who is here."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]

from app import looks, nodes
from storage import door
from storage.home import Home
from tests.app import scenes, sitting
from tests.app.sitting import Door

# Pictures that can be looked at: syrupy has renamed what the plugin sets.
SVGImageExtension.file_extension = "svg"


@pytest.fixture(scope="session")
def quiet_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A node that nobody asks; only looked at."""
    return scenes.make(tmp_path_factory.mktemp("quiet") / "home", scenes.quiet)


@pytest.fixture(scope="session")
def busy_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A box under load; only looked at."""
    return scenes.make(tmp_path_factory.mktemp("busy") / "home", scenes.busy)


@pytest.fixture(scope="session")
def crowded_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """More than there is room for; only looked at."""
    return scenes.make(tmp_path_factory.mktemp("crowded") / "home", scenes.crowded)


@pytest.fixture
def knock(monkeypatch: pytest.MonkeyPatch) -> Door:
    """The node's door as the screen meets it; sara is an operator until the test says else."""
    knocked = Door()
    monkeypatch.setattr(door, "who", knocked.who)
    monkeypatch.setattr(door, "ask", knocked.ask)
    monkeypatch.setattr(nodes, "trouble", knocked.trouble)
    monkeypatch.setattr(looks, "_DRIVER", Path("/nowhere"))
    monkeypatch.setattr(looks, "_login", lambda: "sara")
    sitting.plain_terminal(monkeypatch)
    return knocked
