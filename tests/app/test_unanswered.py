"""A node that takes a request and does not answer: what became of it is not known."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app import cli
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home


def test_a_key_that_may_still_be_created_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 4, not 3: the node is not down. The secret is shown, for there is no other time."""
    home = homes.make(Home(tmp_path / "home"))

    async def serve() -> None:
        await (await stores.open(home)).close()

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.close()

        with homes.short(home.control_socket) as address:
            server = await asyncio.start_unix_server(hang_up, address)
        async with server:
            await asyncio.to_thread(command)

    def command() -> None:
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code == 4

    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    monkeypatch.setattr("sys.argv", ["paddock", "keys", "create", "--name", "sara"])
    asyncio.run(serve())
    said = capsys.readouterr()
    assert said.out.startswith("pk-")
    assert "not known whether it stored the request" in said.err
