"""`paddock status`: the first look, also at a box that is in some trouble."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from app import reader, status_document, status_lines
from app.commands import status
from app.snapshot import Query
from storage import services, silences
from storage import store as stores
from storage.home import clock
from storage.home.paths import Home
from storage.services import Arm
from storage.store import Session
from tests import home_fixtures
from tests.app import pilot, populated_homes

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


async def test_of_many_services_those_that_fail_and_the_busiest_are_shown(box: Home) -> None:
    """A box with thousands of services answers `paddock status` on a page, and counts the rest."""
    store = await stores.open(box, readonly=True)
    try:
        seen = await reader.Reader(box, store, now_us=clock.now_us).read(Query(place="pulse"))
    finally:
        await store.close()
    assert seen.pulse is not None
    (support,) = seen.pulse.services
    quiet = [replace(support, name=f"s{n:04}", requests=n, arms=()) for n in range(3000)]
    ailing = replace(
        support, name="s0007", requests=7, arms=(replace(support.arms[0], failed=7, requests=7),)
    )
    quiet[7] = ailing
    pulse = replace(seen.pulse, services=tuple(quiet))
    said = status_lines.lines(seen.header, pulse, box, "http://box")
    shown = [line.split()[1] for line in said if line.startswith("service ")]
    assert shown == ["s0007", *[f"s{n}" for n in range(3000 - status_lines.MOST + 1, 3000)]]
    rest = sum(range(3000 - status_lines.MOST + 1)) - 7
    assert said[-1].startswith(f"and 2 988 more services: {rest:,} requests".replace(",", " "))
    assert len(said) < 100


async def test_the_history_of_a_service_is_read_again_after_its_split_changed(box: Home) -> None:
    """And only then: a look at a box with many services costs what changed."""
    store = await stores.open(box)
    try:
        look = reader.Reader(box, store, now_us=clock.now_us)
        await look.read(Query(place="pulse"))
        (before,) = look.facts.histories.values()
        await store.write(lambda s: home_fixtures.add_key(s, "another"))
        await look.read(Query(place="pulse"))
        assert look.facts.histories["support"] is before
        arms = look.facts.services[0].split.arms
        turned = [Arm(release=arm.release, weight_bp=10_000 - arm.weight_bp) for arm in arms]
        await store.write(
            lambda s: services.set_split(
                s, service="support", arms=turned, expected_version=None, actor="a", at_us=1
            )
        )
        await look.read(Query(place="pulse"))
        assert look.facts.histories["support"] == [look.facts.services[0].split, *before][:8]
    finally:
        await store.close()


async def test_maintenance_windows_are_shown_first_those_in_force(
    box: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a page, in the document, on the screen at 80×24, and of the moments that they were in."""
    now, minute = populated_homes.NOW_US, 60 * populated_homes.SECOND_US
    store = await stores.open(box)

    async def windows(s: Session) -> None:
        for of, begin, length in (("service=shop", 60, 120), ("service=support", -5, 30)):
            await silences.add(
                s, matchers=[of], starts_at_us=now + begin * minute, at_us=now - minute,
                ends_at_us=now + length * minute, comment="upgrade", actor="kim",
                maintenance=silences.PLANNED,
            )  # fmt: skip

    try:
        await store.write(windows)
    finally:
        await store.close()
    await status.print_now(as_json=False)
    said = capsys.readouterr().out.splitlines()
    shown = [line for line in said if line.startswith("maintenance")]
    assert shown == [
        'maintenance  service="support" until 2025-03-14 03:42:07Z by kim: upgrade',
        'maintenance  service="shop" 2025-03-14 04:12:07Z to 2025-03-14 05:12:07Z by kim: upgrade',
    ]
    await status.print_now(as_json=True)
    found = json.loads(capsys.readouterr().out)["maintenance"]
    assert [(each["of"], each["begun"]) for each in found] == [
        ('service="support"', True), ('service="shop"', False),
    ]  # fmt: skip
    await status.print_then(now - 2 * minute, as_json=True)
    assert json.loads(capsys.readouterr().out)["maintenance"] == []
    async with pilot.at(pilot.program(box)) as screen:
        await screen.until(lambda: "MAINTENANCE" in screen.text)
        rows = screen.text.split("\n")
    (row,) = [row for row in rows if "MAINTENANCE" in row]
    assert 'service="support"  until 03:42, 30 min left  “upgrade”  +1: a' in row
    assert len(rows) == 24
    assert any("LAST" in row for row in rows)
