"""Copies of the store in one file: made beside a running node, checked, and put back.

A backup is a snapshot at one moment, read without holding up those who write. A restore builds the
new store beside the old one, checks it, sets the old one aside with its log, and moves the new one
into its place: a crash in between leaves either of them, or a home that says that its store is
gone and how to restore it. Nothing is ever deleted. Knows no nouns. Imported by `storage.store`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from storage import errors, migrations
from storage.home import access, clock, durable, identity, lock
from storage.home import paths as homes
from storage.home.identity import Backup, Identity, Restore
from storage.home.paths import Home
from storage.sqlite import connections, presence

_PAGES: Final = 2048  # eight megabytes, after which others get their turn at the disk
_PAUSE_S: Final = 0.002
_PROBLEMS: Final = 3


@dataclass(frozen=True, slots=True)
class Copy:
    """A store in a file; `id` is "" for one from before stores had ids."""

    path: Path
    id: str
    schema: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did; `aside` is the path of the previous store, if there was one."""

    copy: Copy
    aside: Path | None


def backup(home: Home, to: Path) -> Copy:
    """Copy the store of a home into a new file that only this user can read.

    Raises:
        AlreadyExists: there is such a file.
        Vanished, Unreadable, DiskFull: there is no store, it is damaged, or there is no room.
    """
    if to.exists() or to.is_symlink():
        raise errors.AlreadyExists(f"{to} exists; choose another name for the backup.")
    presence.require(home, identity.read(home))
    if not home.database.exists():
        raise errors.NotFound(f"There is no store in {home.root} yet; there is nothing to back up.")
    fresh = to.with_name(f"{to.name}.partial")
    with _translated(to):
        _create(fresh)
        try:
            with contextlib.closing(_live(home.database)) as store:
                _copy(store, fresh)
            made = _checked(fresh)
            _name(fresh, to)
            durable.sync(to.parent)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    return Copy(to, made.id, made.schema, made.size_bytes)


def note(home: Home, backup: Backup) -> bool:
    """Note a backup for the ledger, while no node runs; False where one does, and is to be told."""
    with lock.kept_free(home.lock) as alone:
        if alone and (known := identity.read(home)) is not None:
            noted = (*known.backups, backup)
            identity.write(home, msgspec.structs.replace(known, backups=noted))
        return alone


def inspect(path: Path) -> Copy:
    """What a file holds, without changing it.

    Raises:
        NotFound: there is no such file.
        Unreadable: it is damaged, or no store. WrongSchema: a newer Paddock wrote it.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise errors.NotFound(f"There is no file {path}.") from None
    if not stat.S_ISREG(mode):
        raise errors.Unreadable(f"{path} is not a regular file; name a backup of a store.")
    with _translated(path):
        return _checked(path)


def healthy(home: Home) -> bool:
    """Whether a home has its own store, whole enough to be opened."""
    try:
        found = inspect(home.database)
    except errors.StorageError:
        return False
    known = identity.read(home)
    return known is None or not known.made or known.store == found.id


def restore(
    home: Home,
    source: Path,
    *,
    replace: bool = False,
    reason: str = "",
    now_us: Callable[[], int] = clock.now_us,
) -> Restored:
    """Make a copy the store of a home; `replace` a healthy store, or one of another box.

    With a running node it works only while the store is missing: the node takes the copy up
    within seconds. `source` may be the file in the store's own place, to keep it as it is.

    Raises:
        Unavailable: the node runs, and has its store.
        AlreadyExists: there is a healthy store, or the copy is of another box, without `replace`.
        NotFound, Unreadable, WrongSchema: as `inspect`.
    """
    found = inspect(source)
    homes.make(home)
    with lock.kept_free(home.lock) as alone:
        _check(home, found, replace=replace, alone=alone)
        if home.database.exists() and source.samefile(home.database):
            identity.write(home, _identity(found, source, None, reason, now_us()))
            return Restored(found, None)
        fresh = home.database.with_name(f"{home.database.name}.restore")
        with _translated(home.database):
            fresh.unlink(missing_ok=True)
            _create(fresh)
            try:
                with contextlib.closing(_reading(source)) as store:
                    _copy(store, fresh)
                _checked(fresh)
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise
            aside = _set_aside(home)
            identity.write(home, _identity(found, source, aside, reason, now_us()))
            fresh.rename(home.database)
            durable.sync(home.root)
    return Restored(found, aside)


def _identity(found: Copy, source: Path, aside: Path | None, reason: str, at_us: int) -> Identity:
    """Of the restored store, with what the node writes to its ledger: it cannot know itself."""
    by = access.user(os.geteuid())
    before = "" if aside is None else str(aside)
    return Identity(found.id, Restore(at_us, by, str(source), before, reason))


def _check(home: Home, found: Copy, *, replace: bool, alone: bool) -> None:
    known = None
    with contextlib.suppress(errors.Unreadable):  # a damaged home.json is written anew
        known = identity.read(home)
    other = known is not None and known.made and known.store != found.id
    well = healthy(home)
    if well and not alone:
        raise errors.Unavailable(
            f"The node of {home.root} runs and has its store; stop it with `paddock stop` first."
        )
    if not alone and (other or found.schema < migrations.newest()):
        raise errors.Unavailable(
            f"{found.path} is of another box or another version; stop the node with `paddock stop` "
            "first."
        )
    if well and not replace:
        raise errors.AlreadyExists(
            f"{home.root} has a healthy store; add --replace to set it aside and use {found.path}."
        )
    if other and not replace:
        raise errors.AlreadyExists(
            f"{found.path} is the store of another box (id {found.id[:8] or 'none'}); add "
            "--replace to use it here."
        )


def _create(fresh: Path) -> None:
    """An empty file that was not there before, not even as a link."""
    try:
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise errors.AlreadyExists(
            f"{fresh} exists: another copy is being made, or was interrupted. Remove it if none "
            "is being made, or choose another name."
        ) from None


def _name(fresh: Path, to: Path) -> None:
    """Give a finished copy its name, and never take that of a file that has come meanwhile."""
    try:
        os.link(fresh, to)
    except FileExistsError:
        raise errors.AlreadyExists(
            f"{to} exists since this backup began; choose another name for it."
        ) from None
    except OSError:  # a file system without hard links
        fresh.rename(to)
    else:
        fresh.unlink()


def _copy(store: sqlite3.Connection, to: Path) -> None:
    """One snapshot, page by page; `to` is on the disk when this returns."""
    store.execute("BEGIN")
    store.execute("SELECT 1 FROM sqlite_schema").fetchone()  # the snapshot begins here
    with contextlib.closing(sqlite3.connect(to)) as copy:
        store.backup(copy, pages=_PAGES, sleep=_PAUSE_S)
        copy.execute("PRAGMA journal_mode=WAL")
    durable.sync(to)


def _live(path: Path) -> sqlite3.Connection:
    """A connection to a store that others may be writing to; it changes nothing itself."""
    found = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=connections.BUSY_S,
        isolation_level=None,
    )
    found.execute("PRAGMA query_only=ON")
    return found


def _reading(path: Path) -> sqlite3.Connection:
    """A connection to a file that no process writes to; where it has no log, none is made."""
    log, _ = homes.beside(path)
    alone = "" if log.exists() else "&immutable=1"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{alone}",
        uri=True,
        timeout=connections.BUSY_S,
        isolation_level=None,
    )


def _checked(path: Path) -> Copy:
    with contextlib.closing(_reading(path)) as file:
        said = [str(row[0]) for row in file.execute(f"PRAGMA quick_check({_PROBLEMS})")]
        if said != ["ok"]:
            raise errors.Unreadable(f"{path} is damaged ({'; '.join(said)}); use another backup.")
        tables = {row[0] for row in file.execute("SELECT name FROM sqlite_schema")}
        if "migrations" not in tables:
            raise errors.Unreadable(f"{path} is not a Paddock store; name a backup of one.")
        schema = int(file.execute("SELECT max(number) FROM migrations").fetchone()[0])
        row = file.execute("SELECT id FROM store").fetchone() if "store" in tables else None
    if schema > migrations.newest():
        raise errors.WrongSchema(
            f"{path} has schema {schema}, written by a newer Paddock; this one knows "
            f"{migrations.newest()}. Install the newer version."
        )
    return Copy(path, "" if row is None else str(row[0]), schema, path.stat().st_size)


def _set_aside(home: Home) -> Path | None:
    """Move the store with its log, under names that belong together; the file itself first."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = home.database.with_name(f"{home.database.name}.before-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = home.database.with_name(f"{home.database.name}.before-{stamp}-{number}")
    moved = None
    for path, to in zip(
        (home.database, *homes.beside(home.database)), (aside, *homes.beside(aside)), strict=True
    ):
        if path.exists() or path.is_symlink():
            path.rename(to)
            moved = moved or to
    return moved


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise connections.translated(error, path) from error
