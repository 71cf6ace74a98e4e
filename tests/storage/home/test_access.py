"""Who may read a home: modes, refusals in a sentence, and other users who really read."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

import pytest

from storage import errors
from storage import store as stores
from storage.home import access, config
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Store
from tests.storage import writer_process

NOBODYS: int = 61_234  # a group and a user that no table of this machine knows
MINE = grp.getgrgid(os.getegid()).gr_name
ME = pwd.getpwuid(os.geteuid()).pw_name


def modes(home: Home) -> dict[str, int]:
    """The permissions of all that the home holds, its directory as `.`."""
    paths = [home.root, *home.root.iterdir()]
    return {
        "." if path == home.root else path.name: stat.S_IMODE(path.stat().st_mode) for path in paths
    }


async def test_a_group_opens_the_config_and_nothing_else(store: Store) -> None:
    """By name only. Files of the store that an earlier version had opened are closed again."""
    home = store.home
    home.config.touch(0o600)
    home.lock.touch(0o600)
    for path in (home.database, *homes.beside(home.database)):
        path.chmod(0o640)
    access.admit(home, os.getegid())
    homes.make(home)
    assert modes(home) == {
        ".": 0o2710,
        "config.toml": 0o640,
        "paddock.db": 0o600,
        "paddock.db-shm": 0o600,
        "paddock.db-wal": 0o600,
        "home.json": 0o600,
        "node.lock": 0o600,
        "logs": 0o700,
        "models": 0o700,
        "run": 0o700,
        "secrets": 0o700,
    }


async def test_what_sqlite_makes_anew_is_the_owners(home: Home) -> None:
    """The log is made at each start, with the mode of the store."""
    store = await stores.open(home)
    access.admit(home, NOBODYS if os.getuid() == 0 else os.getegid())
    await writer_process.accept(store, "scribe", 0)
    await store.close()
    assert not any(path.exists() for path in homes.beside(home.database))
    store = await stores.open(home)
    await writer_process.accept(store, "scribe", 1)
    for path in (home.database, *homes.beside(home.database)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await store.close()


async def test_without_the_setting_all_of_it_is_closed_again(store: Store) -> None:
    """What the group could read is its owner's alone after the next start."""
    home = store.home
    home.config.touch(0o600)
    access.admit(home, os.getegid())
    access.admit(home, None)
    found = modes(home)
    assert {found.pop(each) for each in (".", "logs", "models", "run", "secrets")} == {0o700}
    assert set(found.values()) == {0o600}


async def test_only_a_store_that_the_node_opened_stays_open(home: Home) -> None:
    """0755 is a slip; so is the node's own mode on a directory that holds something else."""
    home.root.chmod(homes.LOOKED_AT)
    with pytest.raises(errors.NotPrivate):
        homes.make(home)
    home.database.touch()
    homes.make(home)
    assert stat.S_IMODE(home.root.stat().st_mode) == homes.LOOKED_AT
    home.root.chmod(0o755)
    homes.make(home)
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700


def test_a_home_that_another_group_may_read_is_exposed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether that is by its modes, or by its group; a file that disappears meanwhile is none."""
    for path in (home.database, *homes.beside(home.database)):
        path.touch(0o600)
    access.admit(home, os.getegid())
    assert access.exposed(home, MINE) is None
    assert access.exposed(home, None) == home.root
    other = grp.struct_group(("sre", "x", NOBODYS, []))
    with monkeypatch.context() as patched:
        patched.setattr(grp, "getgrnam", lambda _: other)
        assert access.exposed(home, "sre") == home.root
    assert access.exposed(home, "no-such-group") == home.root
    (log, *_) = homes.beside(home.database)
    log.chmod(0o644)
    assert access.exposed(home, MINE) == log
    monkeypatch.setattr(Path, "exists", lambda _: True)  # as just before SQLite removes it
    log.unlink()
    assert access.exposed(home, MINE) is None


def test_the_group_has_to_exist_and_the_owner_to_be_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal says what to do; root may name any group."""
    assert access.group(None) is None
    assert access.group(MINE) == os.getegid()
    with pytest.raises(errors.ConfigError, match="groupadd no-such-group"):
        access.group("no-such-group")
    monkeypatch.setattr(os, "geteuid", lambda: NOBODYS)
    monkeypatch.setattr(os, "getegid", lambda: NOBODYS)
    monkeypatch.setattr(os, "getgroups", list[int])
    with pytest.raises(errors.ConfigError, match=f"usermod -aG {MINE} uid{NOBODYS}"):
        access.group(MINE)
    late = grp.struct_group((MINE, "x", 1, [f"uid{NOBODYS}"]))
    monkeypatch.setattr(grp, "getgrnam", lambda _: late)
    with pytest.raises(errors.ConfigError, match="log in again"):
        access.group(MINE)


async def test_a_file_system_that_knows_no_groups_is_reported(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence, not a traceback."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(errors.NotPrivate, match="cannot be set"):
        access.admit(store.home, os.getegid())


async def test_who_is_shut_out_learns_what_to_do(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they try to read: the store, the config; the control socket says so by itself."""
    home = store.home
    monkeypatch.setattr(os, "access", lambda path, _: path not in {home.root, home.database})
    with pytest.raises(errors.Closed, match=f"Only {ME} may read"):
        await stores.open(home, readonly=True)
    with pytest.raises(errors.Closed, match=r"`group` under \[people\]"):
        config.load(home)
    access.admit(home, os.getegid())
    with pytest.raises(errors.Closed, match=f"usermod -aG {MINE} {ME}"):
        access.require(home)
    late = grp.struct_group((MINE, "x", 1, [ME]))
    monkeypatch.setattr(grp, "getgrgid", lambda _: late)
    with pytest.raises(errors.Closed, match="log in again"):
        access.require(home)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(errors.Closed, match="may not enter /"):
        access.require(home)


def test_a_home_that_is_not_there_is_no_secret(tmp_path: Path) -> None:
    """It is said elsewhere that there is none."""
    access.require(Home(tmp_path / "none"))
    (tmp_path / "file").touch()
    access.require(Home(tmp_path / "file"))
