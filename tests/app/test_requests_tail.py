"""Following the requests: what comes between two looks is shown, however much it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.commands import requests as command
from storage import requests
from storage import store as stores
from storage.home.paths import Home
from storage.sqlite.store import SqliteStore
from tests.storage import fixtures


class Enough(Exception):
    """The person has seen enough."""


async def test_nothing_is_lost_between_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three pages and a bit come at once, then one more; each is shown once and in order."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    written = await stores.open(home)
    bursts = [range(10), range(10, 1_600), range(1_600, 1_601)]

    async def come(numbers: range) -> None:
        made = [fixtures.request(number) for number in numbers]
        await written.write(lambda s: requests.record(s, made))

    async def next_burst(_: SqliteStore) -> bool:
        if not bursts:
            raise Enough
        await come(bursts.pop(0))
        return True

    monkeypatch.setattr(SqliteStore, "wait_changed", next_burst)
    await come(bursts.pop(0))
    try:
        with pytest.raises(Enough):
            await command.tail(limit=5, follow=True, as_json=True)
    finally:
        await written.close()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["class"] == "interactive"
    shown = [line["id"] for line in lines]
    assert shown == [f"req_{number}" for number in range(5, 1_601)]
