"""The home: where it is, that it is private, and that its sockets can be reached from anywhere."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from storage import errors
from storage.home import paths as homes
from storage.home.paths import Home


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_an_explicit_home_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person names on the command line is where it is."""
    monkeypatch.setenv("PADDOCK_HOME", str(tmp_path / "other"))
    assert homes.find(tmp_path / "here").root == tmp_path / "here"


def test_the_environment_names_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PADDOCK_HOME, else the XDG state directory, else the one below the user's own."""
    monkeypatch.setenv("PADDOCK_HOME", str(tmp_path / "a"))
    assert homes.find().root == tmp_path / "a"
    monkeypatch.delenv("PADDOCK_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "b"))
    assert homes.find().root == tmp_path / "b/paddock"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert homes.find().root == tmp_path / "c/.local/state/paddock"


def test_a_home_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Directories 0700 whatever the umask lets through; making it again changes nothing."""
    before = os.umask(0)
    try:
        home = homes.make(homes.make(Home(tmp_path / "deep/home")))
    finally:
        os.umask(before)
    assert {mode(each) for each in (home.root, home.run, home.logs, home.models)} == {0o700}


def test_an_empty_directory_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    """Making the directory first takes no knowledge of permissions."""
    root = tmp_path / "home"
    root.mkdir()
    root.chmod(0o755)
    homes.make(Home(root))
    assert mode(root) == 0o700


def test_a_directory_of_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    """`--home /srv` must not take /srv away from everybody else."""
    root = tmp_path / "home"
    root.mkdir()
    root.chmod(0o755)
    (root / "thesis.txt").write_text("mine")
    with pytest.raises(errors.NotPrivate, match="chmod 700"):
        homes.make(Home(root))
    assert mode(root) == 0o755


def test_another_users_home_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root who serves in a user's home would leave files there that the user cannot read."""
    home = homes.make(Home(tmp_path / "home"))
    monkeypatch.setattr(os, "geteuid", lambda: home.root.stat().st_uid + 1)
    with pytest.raises(errors.NotPrivate, match="another user"):
        homes.make(home)


async def test_a_socket_is_reached_however_long_its_path(tmp_path: Path) -> None:
    """A Unix address holds 107 bytes; a home may lie deeper than that."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        with homes.short(deep / "node.sock") as address:
            assert len(address) < 107
            listening.bind(address)
        listening.listen()
        with homes.short(deep / "node.sock") as address:
            _, writer = await asyncio.open_unix_connection(address)
        writer.close()
        await writer.wait_closed()
    assert (deep / "node.sock").is_socket()


def test_a_short_path_is_its_own_address() -> None:
    """Nothing is opened where nothing is needed."""
    with homes.short(Path("/run/x.sock")) as address:
        assert address == "/run/x.sock"


@pytest.mark.parametrize(
    "module",
    [
        "home.paths",
        "home.clock",
        "home.access",
        "errors",
        "control_socket.client",
        "control_socket.nudges",
        "names",
        "sqlite.offline_read",
        "sketches",
    ],
)
def test_what_everybody_imports_weighs_nothing(module: str) -> None:
    """A worker, `paddock --help` and a client of the control socket need no database library."""
    program = f"import sys, storage.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"sqlalchemy", "sqlmodel", "aiosqlite", "pydantic", "numpy"}
    assert heavy & set(done.stdout.split()) == set()
