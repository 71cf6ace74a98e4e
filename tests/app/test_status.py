"""`paddock status`: the first look, also at a box that is in some trouble."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app import reader
from app.commands import status
from app.query import Interest
from storage import store as stores
from storage.home import clock
from storage.home.paths import Home
from tests.app import scenes

pytestmark = pytest.mark.usefixtures("node")


@pytest.fixture
def box(busy_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A busy box of the test's own."""
    home = Home(tmp_path / "home")
    shutil.copytree(busy_home.root, home.root)
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    monkeypatch.setattr(clock, "now_us", lambda: scenes.NOW_US)
    return home


@pytest.mark.parametrize("typo", ['[gateway]\nport = "many"\n', "[gateway\n", "[gatway]\n"])
async def test_a_typo_in_the_config_hides_nothing(
    box: Home, capsys: pytest.CaptureFixture[str], typo: str
) -> None:
    """Screen and status show the running box with default settings, and what is wrong."""
    box.config.write_text(typo)
    store = await stores.open(box, readonly=True)
    try:
        seen = await reader.Looker(box, store, now_us=clock.now_us).look(Interest(place="pulse"))
    finally:
        await store.close()
    assert seen.pulse is not None
    assert [service.name for service in seen.pulse.services] == ["support"]
    assert "config.toml unusable" in seen.house.troubles
    assert await status.print_now(as_json=False) == 0
    said = capsys.readouterr().out
    assert f"CONFIG {box.config}" in said
    assert "service support" in said
    assert await status.print_now(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["services"][0]["name"] == "support"
    box.config.write_text("")
    assert await status.print_now(as_json=False) == 0
    assert "CONFIG" not in capsys.readouterr().out
