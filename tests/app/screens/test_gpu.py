"""The place of the cards: what each does, what is wrong with one, and a box without any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from app import snapshot
from app.screens import gpu as place
from app.snapshot.gpus import GpuCard
from app.widgets import palette
from storage import samples
from storage.home.paths import Home
from storage.samples import GpuProcess, GpuSample
from storage.store import Session, Store
from tests.app import pilot, populated_homes
from tests.storage import fixtures

pytestmark = pytest.mark.usefixtures("node")

NOW = populated_homes.NOW


def sample(at: int, **changes: object) -> GpuSample:
    """A card that reports all that there is."""
    full = msgspec.structs.replace(
        populated_homes.gpu(at), clock_mhz=1755, clock_max_mhz=1980, memory_clock_mhz=2619,
        ecc_uncorrected=0, xids=(),
        processes=(GpuProcess(4_000, 58_000_000_000), GpuProcess(77, None)),
    )  # fmt: skip
    return msgspec.structs.replace(full, **changes)


async def scene(store: Store) -> None:
    """One card that fell ill ten minutes ago, and one that reports little, as a MIG slice."""
    await fixtures.furnish(store)

    async def work(s: Session) -> None:
        await populated_homes.node(s)
        bare = sample(
            NOW, index=1, clock_mhz=None, clock_max_mhz=None, memory_clock_mhz=None, power_mw=None,
            utilisation_percent=None, ecc_uncorrected=None, xids=None, processes=None,
        )  # fmt: skip
        for at, card in (
            (NOW - 600, sample(NOW - 600, xids=(79,), utilisation_percent=3.0)),
            (NOW - 1, sample(NOW - 1, throttle=("heat",), utilisation_percent=88.0)),
        ):
            await samples.record(s, at, [(samples.Kind.GPU, "0", card)])
        await samples.record(s, NOW - 1, [(samples.Kind.GPU, "1", bare)])
        host = populated_homes.host(NOW)
        await samples.record(s, NOW - 1, [(samples.Kind.HOST, "box01", host)])

    await store.write(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A box with those."""
    return populated_homes.make(tmp_path / "home", scene)


async def test_a_card_is_shown_in_full_with_the_errors_of_the_last_minutes(home: Home) -> None:
    """Processes of the node by their names; what a card does not report is a dash."""
    async with pilot.at(pilot.program(home)) as screen:
        await screen.go("g")
        text = screen.text
        assert "▲ Xid 79" in text.split("\n")[3]
        assert "▲ Xid 79 at 03:02:07Z   uncorrected ECC 0" in text
        assert "1755 of 1980 MHz   memory 2619 MHz" in text
        assert "88 %  3–88 % in 15 min" in text
        assert "slowed by  heat" in text
        assert "58.0 GB  pid 4000     runner" in text
        assert "pid 77       not of this node" in text
        assert "CPU" in text.split("\n")[-3]
        assert max(len(row) for row in text.split("\n")) <= 80
        await screen.press("down")
        assert "Xid –   uncorrected ECC –" in screen.text
        assert "– of – MHz" in screen.text


async def test_a_box_without_a_gpu_is_a_normal_box(quiet_home: Home) -> None:
    """It says so, and shows the machine."""
    async with pilot.at(pilot.program(quiet_home)) as screen:
        await screen.go("g")
        assert "no GPU: driver not found; models compute on the CPU" in screen.text
        assert "of 16 CPU" in screen.text


def test_the_worst_of_a_card_is_said_first() -> None:
    """An Xid, then memory errors, then what slows it."""
    card = GpuCard(
        gpu=snapshot.Gpu(
            index=0, name="H100", utilisation=0.5, memory_used=1, memory_total=2, power_mw=1,
            power_limit_mw=2, temperature_c=70, throttle=("heat",),
        ),
        clock_mhz=1, clock_max_mhz=2, memory_clock_mhz=3, ecc_uncorrected=4,
        xids=((NOW * 1_000_000, 79),), processes=None, lowest=None, peak=None,
    )  # fmt: skip
    assert place.trouble(card)[0] == "▲ Xid 79"
    assert place.trouble(replace(card, xids=()))[0] == "▲ ECC 4"
    healthy = replace(card, xids=(), ecc_uncorrected=0)
    assert place.trouble(healthy)[0] == "▲ heat"
    cool = replace(healthy, gpu=replace(healthy.gpu, throttle=()))
    assert place.trouble(cool)[0] == "ok"
    rows = [palette.text(each) for each in place.detail(card, 80, 4)]
    assert any("processes  –" in each for each in rows)
