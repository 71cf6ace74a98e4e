"""Secrets that this box uses against others, such as the API keys of upstreams: one file each.

The store may be opened to a group and the ledger keeps everything for good, so a secret is in
neither: it is a file of mode 0600 in the data directory, and records hold its reference, a random
name that reveals nothing. The command line deposits a secret before it asks for a record that
refers to it; `sweep` removes what no record has referred to for a day. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Collection
from typing import Final

from storage.errors import Closed, Invalid, NotFound
from storage.home import durable, unused
from storage.home.paths import PRIVATE, Home

LIMIT: Final = 8192
"""Bytes; longer than any API key or token in use."""
KEPT_S: Final = 86_400
"""How long a secret is kept without a record: one may be on its way, or a restore be undone."""

PATTERN: Final = "[0-9a-f]{32}"
_REFERENCE: Final = re.compile(PATTERN)
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")


def deposit(home: Home, secret: str, what: str = "A key") -> str:
    """Keep a secret; the reference to it. `what` names it in errors.

    Raises:
        Invalid: it is empty, too long or not one line of printable ASCII; a header cannot carry it.
        Closed: this user may not write into the data directory.
    """
    secret = secret.strip()
    if len(secret) > LIMIT or not _PRINTABLE.fullmatch(secret):
        raise Invalid(
            f"{what} is one line of 1 to {LIMIT} printable ASCII characters without spaces; "
            "this one is not."
        )
    reference = secrets.token_hex(16)
    try:
        home.secrets.mkdir(mode=PRIVATE, exist_ok=True)
        path = home.secrets / reference
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        durable.sync(home.secrets)
    except PermissionError as error:
        raise Closed(
            f"Only the user who runs the node may store a secret in {home.root}; "
            "run this command as that user."
        ) from error
    return reference


def read(home: Home, reference: str) -> str:
    """The secret.

    Raises:
        NotFound: the file is missing or cannot be read; the message says what to do.
    """
    try:
        if not _REFERENCE.fullmatch(reference):
            raise FileNotFoundError(reference)
        return (home.secrets / reference).read_text(encoding="ascii")[:LIMIT].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound("its key is missing from the data directory; store the key again") from error


def discard(home: Home, reference: str) -> None:
    """Remove a secret; one that is not there is fine."""
    if _REFERENCE.fullmatch(reference):
        with contextlib.suppress(OSError):
            (home.secrets / reference).unlink()


def sweep(home: Home, referred: Collection[str], *, now_s: float) -> int:
    """Remove the secrets that no record has referred to for a day; how many."""
    with contextlib.suppress(OSError):
        names = [path.name for path in home.secrets.iterdir() if path.name not in referred]
        found = [name for name in names if _REFERENCE.fullmatch(name)]
        gone = unused.since(home.secrets, found, now_s=now_s, kept_s=KEPT_S)
        for name in gone:
            discard(home, name)
        return len(gone)
    return 0
