"""Boxes to look at, and a control socket that knows who is asking."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]

from app import liveness, reader
from storage.control_socket import client
from storage.home.paths import Home
from tests.app import pilot, populated_homes
from tests.app.pilot import FakeNode

# Images that a browser can show: syrupy has renamed what the plugin sets.
SVGImageExtension.file_extension = "svg"


@pytest.fixture(scope="session")
def quiet_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A node without requests; read-only."""
    return populated_homes.make(tmp_path_factory.mktemp("quiet") / "home", populated_homes.quiet)


@pytest.fixture(scope="session")
def busy_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A box under load; only looked at."""
    return populated_homes.make(tmp_path_factory.mktemp("busy") / "home", populated_homes.busy)


@pytest.fixture(scope="session")
def crowded_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """More than there is room for; only looked at."""
    return populated_homes.make(
        tmp_path_factory.mktemp("crowded") / "home", populated_homes.crowded
    )


@pytest.fixture(scope="session")
def ailing_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Backends of all three kinds, two of which are down; only looked at."""
    return populated_homes.make(tmp_path_factory.mktemp("ailing") / "home", populated_homes.ailing)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """The control socket as the screen meets it; sara is an operator unless a test changes that."""
    fake = FakeNode()
    monkeypatch.setattr(client, "who", fake.who)
    monkeypatch.setattr(client, "ask", fake.ask)
    monkeypatch.setattr(client, "state", fake.state)
    monkeypatch.setattr(liveness, "ask_gateway", fake.ready)
    monkeypatch.setattr(reader, "_DRIVER", Path("/nowhere"))
    monkeypatch.setattr(reader, "_login", lambda: "sara")
    pilot.plain_terminal(monkeypatch)
    return fake
