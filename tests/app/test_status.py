"""`paddock status`: the first look, also at a box that is in some trouble."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from app import reader, status_document
from app.commands import status
from app.snapshot import Query
from storage import store as stores
from storage.home import clock
from storage.home.paths import Home
from tests.app import populated_homes

pytestmark = pytest.mark.usefixtures("node")


@pytest.fixture
def box(busy_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A busy box of the test's own."""
    home = Home(tmp_path / "home")
    shutil.copytree(busy_home.root, home.root)
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    monkeypatch.setattr(clock, "now_us", lambda: populated_homes.NOW_US)
    return home


@pytest.mark.parametrize("typo", ['[gateway]\nport = "many"\n', "[gateway\n", "[gatway]\n"])
async def test_a_typo_in_the_config_hides_nothing(
    box: Home, capsys: pytest.CaptureFixture[str], typo: str
) -> None:
    """Screen and status show the running box with default settings, and what is wrong."""
    box.config.write_text(typo)
    store = await stores.open(box, readonly=True)
    try:
        seen = await reader.Reader(box, store, now_us=clock.now_us).read(Query(place="pulse"))
    finally:
        await store.close()
    assert seen.pulse is not None
    assert [service.name for service in seen.pulse.services] == ["support"]
    assert "config.toml unusable" in [each.brief for each in seen.header.troubles]
    assert await status.print_now(as_json=False) == 0
    said = capsys.readouterr().out
    assert f"▲ {box.config}" in said
    assert "service support" in said
    assert await status.print_now(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["services"][0]["name"] == "support"
    box.config.write_text("")
    assert await status.print_now(as_json=False) == 0
    assert "▲" not in capsys.readouterr().out


def test_the_schema_that_is_documented_is_that_of_the_document() -> None:
    """To write it again: `python -m app.status_document > docs/status.schema.json`."""
    kept = json.loads((Path(__file__).parents[2] / "docs" / "status.schema.json").read_text())
    assert json.loads(json.dumps(status_document.json_schema())) == kept


async def test_the_document_has_the_figures_of_the_screen(
    box: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under its own names, with its version; it can be decoded as what it says it is."""
    assert await status.print_now(as_json=True) == 0
    document = msgspec.json.decode(capsys.readouterr().out, type=status_document.Status)
    assert document.schema == "paddock.status/1"
    assert (document.node.state, document.home) == ("up", str(box.root))
    (service,) = document.services
    assert [arm.release for arm in service.arms] == ["r1", "r2"]
    (deployment,) = document.deployments
    assert (deployment.name, deployment.ready, deployment.replicas) == ("ops-1.0.0", 1, 1)
    assert [each.name for each in deployment.instances] == ["ops-1.0.0:1"]
    assert deployment.load == deployment.instances[0].load == document.load
    assert document.problems == ()
