"""`paddock samples`: the measurements of the last seconds, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import errors, words
from app.commands import samples as command
from storage import samples
from storage import store as stores
from storage.home import clock
from storage.home.paths import Home
from storage.samples import ArmSample, GatewaySample, InstanceSample, Kind
from storage.sketches import Sketch
from tests.app import populated_homes

AT = clock.now_us() // 1_000_000 - 5
WORKER = InstanceSample(
    running=3, waiting=2, max_running=8, oldest_waiting_us=0, sequences=3, kv_used_tokens=512,
    kv_total_tokens=2048, steps=40, prefill_tokens=96, decode_tokens=120, busy_us=750_000,
    idle_us=250_000, batch_max=35,
)  # fmt: skip


@pytest.fixture
async def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home in which three seconds were measured, long before one that is asked for."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    store = await stores.open(home)
    latency = Sketch()
    latency.add(1_900_000)
    arm = ArmSample(requests=2, ok=1, failed=1, completion_tokens=40, latency=latency.to_dict())
    seconds: dict[int, list[tuple[Kind, str, samples.Sample]]] = {
        AT - 600: [(Kind.INSTANCE, "old", WORKER)],
        AT - 1: [
            (Kind.HOST, "box", populated_homes.host(7)),
            (Kind.GPU, "0", populated_homes.gpu(7)),
        ],
        AT: [
            (Kind.INSTANCE, "ops-1.0.0", WORKER),
            (Kind.ARM, "support/r1", arm),
            (
                Kind.GATEWAY,
                samples.GATEWAY,
                GatewaySample(held=4, connections=9, refused={"x": 2}, rejected={"y": 3}),
            ),
        ],
    }
    for second, measured in seconds.items():
        await store.write(lambda s, a=second, m=measured: samples.record(s, a, m))  # type: ignore[misc]
    await store.close()
    return home


@pytest.mark.parametrize(
    ("kind", "head", "row"),
    [
        (Kind.INSTANCE, "RUNNING WAITING BATCH", "ops-1.0.0 3/8 2 35 40 96 120 25 % 75 %"),
        (Kind.ARM, "REQUESTS FAILED REFUSED", "support/r1 2 1 0 0 40 1.9"),
        (Kind.HOST, "CPU LOAD MEMORY DISK", "box 27 % 3.25"),
        (Kind.GPU, "BUSY MEMORY POWER", "412 W 71 °C no"),
        (Kind.GATEWAY, "HELD CONNECTIONS REFUSED REJECTED", "gateway 4 9 x 2 y 3"),
    ],
)
async def test_each_kind_shows_its_seconds(
    box: Home, capsys: pytest.CaptureFixture[str], kind: Kind, head: str, row: str
) -> None:
    """A line for each subject and second that was measured window."""
    del box
    await command.tail(kind, 20, as_json=False)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2
    assert f"AT {kind.value.upper()} {head}" in lines[0]
    assert row in lines[1]


async def test_without_a_gpu_the_list_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not that nothing was measured yet: there will be nothing."""
    monkeypatch.setenv("PADDOCK_HOME", str(tmp_path / "home"))
    store = await stores.open(Home(tmp_path / "home"))
    await store.write(
        lambda s: samples.record(s, AT, [(Kind.HOST, "box", populated_homes.host(7))])
    )
    await store.close()
    await command.tail(Kind.GPU, 20, as_json=False)
    assert capsys.readouterr().out.startswith("No GPU was measured: this box has none")


async def test_samples_as_json_hold_every_figure(
    box: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they are kept."""
    del box
    await command.tail(Kind.INSTANCE, 900, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert [(each["second"], each["subject"]) for each in document] == [
        (AT - 600, "old"),
        (AT, "ops-1.0.0"),
    ]
    assert document[1]["sample"]["batch_max"] == 35


async def test_before_the_first_second_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A box that measures nothing yet is no error."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    await (await stores.open(home)).close()
    await command.tail(Kind.GPU, 20, as_json=False)
    assert capsys.readouterr().out == "Nothing was measured yet.\n"


async def test_the_requests_of_a_time_are_shown_in_sum(
    box: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row for each arm or service; what was not measured in that time has none."""
    assert box.root.exists()
    await command.total(last="1h", by=command.By.SERVICE)
    said = " ".join(capsys.readouterr().out.split("\n")[1].split())
    unknown = words.UNKNOWN
    assert said == f"support 2 50 % 1.90 s 1.90 s 1.90 s {unknown} 40 {unknown} {unknown}"
    await command.total(last="1h", by=command.By.ARM, service="support", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["support/r1"]["error_rate"] == 0.5
    await command.total(last="1s")
    assert capsys.readouterr().out == "No request was measured in the last 1s.\n"
    with pytest.raises(errors.BadWord, match="'1w' is not a time; write 90s, 15m, 24h or 30d"):
        await command.total(last="1w")
