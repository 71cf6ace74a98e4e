"""The home of the demo: where it is, that a demo made it, and which keys demos made there.

A file in the home marks it as a demo's and lists its keys, a name a line, only ever added to, so
that several runs can write, and a killed run cannot damage it. Only this decides where a demo may
act. Imported by `app.commands.demo` and `app.demo.run`.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

from app import errors
from storage.home import paths as homes
from storage.home.paths import Home

_MARK: Final = "made-by-demo"


def find(explicit: Path | None = None) -> Home:
    """The home that was named, else $PADDOCK_DEMO_HOME, else one beside the user's own.

    $PADDOCK_HOME never counts: it names a box that people work with.
    """
    if explicit is not None:
        return homes.find(explicit)
    if named := os.environ.get("PADDOCK_DEMO_HOME"):
        return homes.find(Path(named))
    return Home(homes.state() / "paddock-demo")


def take(home: Home) -> None:
    """Make the home and mark it, or find it marked; doing it again changes nothing.

    Raises:
        errors.AppError: there is a box that no demo made; nothing was touched.
    """
    mark = home.root / _MARK
    if not mark.exists() and (home.database.exists() or home.config.exists()):
        raise errors.AppError(
            f"{home.root} holds a box that no demo made; nothing was touched. "
            "Give the demo another directory: `paddock demo --home DIR` or PADDOCK_DEMO_HOME."
        )
    homes.make(home)
    _append(mark, "")


def remember(home: Home, key: str) -> None:
    """Write a key's name down; before the key is made, so that none is ever unknown."""
    _append(home.root / _MARK, f"{key}\n")


def keys(home: Home) -> list[str]:
    """The names of all keys that demos made in this home, revoked ones too."""
    return (home.root / _MARK).read_text().split()


def command(home: Home, words: str = "") -> str:
    """What is typed into a shell to have `paddock` speak about this home."""
    return f"PADDOCK_HOME={shlex.quote(str(home.root))} paddock {words}".rstrip()


def _append(mark: Path, text: str) -> None:
    descriptor = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
