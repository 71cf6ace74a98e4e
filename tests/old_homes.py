"""Data directories as earlier releases of Paddock left them, for tests of migrations.

`storage/first_light.sql` is the dump of a home that 0.1.0 served: two services, four releases on
two workers, 103 requests, a runbook run, a knob. @SHIPPED@ is the folder of the shipped models.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from storage.home import paths
from storage.home.paths import Home
from tests import home_fixtures

_DUMP: Final = Path(__file__).parent / "storage" / "first_light.sql"


def first_light(root: Path) -> Home:
    """The home of 0.1.0, not migrated yet."""
    home = paths.make(Home(root))
    script = _DUMP.read_text().replace("@SHIPPED@", str(home_fixtures.SHIPPED))
    script = script.replace("@HOME@", str(home.root))
    home.database.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.executescript(script)
    return home
