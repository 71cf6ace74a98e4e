"""`paddock cost` and `paddock prices list`: the bill as text and as JSON; what people type."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from app import amounts, errors
from app.commands import cost as command
from app.commands import prices as prices_command
from app.commands import requests as requests_command
from app.figures.costs import By
from storage import box_usage, prices, requests, usage
from storage import store as stores
from storage.home import clock, config
from storage.home.paths import Home
from storage.prices import GPU_HOUR, QUARTER_S
from storage.store import Session
from tests.storage import fixtures

NOW_S = clock.now_us() // 1_000_000
SETTINGS = config.Price(currency="EUR")


@pytest.fixture
async def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with one request of a second of computing time, and a minute of the box."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    quarter = NOW_S // QUARTER_S * QUARTER_S

    async def work(s: Session) -> None:
        row = usage.Usage(
            quarter_s=quarter, service="support", release=1, tenant="acme", key_id=7,
            deployment="ops", requests=2, prompt_tokens=600, completion_tokens=400,
            busy_us=1_000_000,
        )  # fmt: skip
        s.add(usage.UsageRow(**{name: getattr(row, name) for name in row.__struct_fields__}))
        s.add(
            box_usage.BoxUsageRow(
                quarter_s=quarter, devices=1, device_us=60_000_000, work_mj=None, idle_mj=None
            )
        )

    store = await stores.open(home)
    await store.write(work)
    await store.close()
    return home


async def _price(home: Home) -> None:
    store = await stores.open(home)
    await store.write(
        lambda s: prices.set(
            s, subject=GPU_HOUR, from_s=0, currency=None, micro=3_600_000_000, settings=SETTINGS,
            actor="kim", at_us=1,
        )
    )  # fmt: skip
    await store.close()


async def test_the_bill_has_a_line_for_each_and_idle_apart(
    box: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second of a GPU-hour of 3600, of a minute; JSON has the same in micro-units."""
    await _price(box)
    begin = str(NOW_S // QUARTER_S * QUARTER_S)
    await command.cost(by=By.ARM, since=_typed(int(begin)))
    said = [" ".join(line.split()) for line in capsys.readouterr().out.split("\n")]
    assert said[0] == "ARM REQUESTS TOKENS EUR SHARE PER 1K TOK"
    assert said[1].startswith("support/r1 2 ")
    assert " 1.00 " in said[1]
    assert said[2].startswith("idle 59.00")
    assert said[3].startswith("total 2")
    assert any(line.startswith("Today so far 60.00 EUR; ") for line in said)
    for by, name in ((By.TENANT, "acme"), (By.KEY, "key 7"), (By.DEPLOYMENT, "ops")):
        await command.cost(by=by, since=_typed(int(begin)), as_json=True)
        document = json.loads(capsys.readouterr().out)
        assert [line["name"] for line in document["lines"]] == [name]
        assert document["lines"][0]["micro"] + document["idle_micro"] == document["total_micro"]
    assert (document["total_micro"], document["idle_micro"]) == (60_000_000, 59_000_000)
    assert document["lines"][0]["kilo_micro"] == 1_000_000


async def test_without_a_price_nothing_is_said_to_be_free(
    box: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was used is shown, and which price is missing."""
    assert box.root.exists()
    await command.cost()
    said = capsys.readouterr().out
    assert "no price" in said
    assert "Not priced: no price of a GPU-hour." in said
    await command.cost(since="2020-01-01", until="2020-01-02")
    assert capsys.readouterr().out == "Nothing was used in that time.\n"
    with pytest.raises(errors.BadWord, match="The range is empty"):
        await command.cost(since="2020-01-02", until="2020-01-01")


async def test_prices_are_listed_with_their_times(
    box: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is none, what sets one."""
    await prices_command.every()
    assert "`paddock prices set gpu-hour 2.50`" in capsys.readouterr().out
    await _price(box)
    await prices_command.every()
    assert "gpu-hour  the beginning  3600.00 EUR  kim" in capsys.readouterr().out


def _typed(second: int) -> str:
    return dt.datetime.fromtimestamp(second, dt.UTC).isoformat()


@pytest.mark.parametrize(
    ("typed", "micro"), [("2.50", 2_500_000), ("0", 0), ("0.000021", 21), ("1e2", 100_000_000)]
)
def test_an_amount_is_read_to_the_micro_unit(typed: str, micro: int) -> None:
    """And shown with as many decimals as it needs."""
    assert amounts.micro(typed) == micro
    assert float(amounts.shown(micro, unknown="?")) == pytest.approx(micro / 1e6)


@pytest.mark.parametrize("typed", ["", "two", "-1", "nan", "inf", "0.0000001", "1e30", "1e999999"])
def test_what_is_no_amount_is_refused(typed: str) -> None:
    """With how to write one."""
    with pytest.raises(errors.BadWord, match=r"not an amount|out of range"):
        amounts.micro(typed)


def test_a_time_without_an_offset_is_in_the_time_zone_of_the_costs() -> None:
    """A day begins at its midnight."""
    assert amounts.moment("2026-11-27", "Europe/Berlin") == 1_795_734_000
    assert amounts.moment("2026-11-27T00:00Z", "Europe/Berlin") == 1_795_737_600
    with pytest.raises(errors.BadWord, match="'soon' is not a time"):
        amounts.moment("soon", "UTC")


async def test_a_request_shows_its_cost(box: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown where no price is set."""
    store = await stores.open(box)
    await store.write(lambda s: requests.record(s, [fixtures.request(1)]))
    await store.close()
    await requests_command.show("req_1")
    assert "cost         no price set" in capsys.readouterr().out
