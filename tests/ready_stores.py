"""New stores for tests, copied from one that the migrations have made in this process.

Hundreds of tests begin with an empty store, and the statements of all migrations take longer than
most of them. A copy differs from a store that was migrated in its place in nothing: it has an id, a
pepper and times that are not the template's. The tests of migrations ask for `real_migrations`.
Imported by tests/conftest.py.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from storage import migrations
from storage.home import identity, pepper
from storage.home import paths as homes
from storage.home.identity import Identity
from storage.home.paths import Home
from storage.sqlite import connections, presence

MIGRATE: Final = migrations._apply


@contextmanager
def copied() -> Iterator[None]:
    """Homes that never had a store get a copy of the template; others are migrated."""
    with tempfile.TemporaryDirectory() as folder:
        template = functools.cache(functools.partial(_template, Path(folder)))

        def apply(home: Home, now_us: Callable[[], int]) -> None:
            if home.identity.exists() or home.database.exists():
                MIGRATE(home, now_us)
            else:
                _copy(template(), home, now_us())

        migrations._apply = apply
        try:
            yield
        finally:
            migrations._apply = MIGRATE


def _template(folder: Path) -> Path:
    home = homes.make(Home(folder / "home"))
    MIGRATE(home, lambda: 0)
    return home.database


def _copy(template: Path, home: Home, at_us: int) -> None:
    connections.create(home)
    shutil.copyfile(template, home.database)
    with contextlib.closing(sqlite3.connect(home.database)) as made, made:
        made.execute("PRAGMA synchronous=OFF")
        made.execute("UPDATE store SET id = lower(hex(randomblob(16)))")
        made.execute("UPDATE pepper SET fingerprint = ?", (pepper.obtain(home).fingerprint,))
        made.execute("UPDATE migrations SET at_us = ?", (at_us,))
    identity.write(home, Identity(presence.read_id(home)))
