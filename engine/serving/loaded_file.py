"""Which file a worker has loaded: the one that was verified before, or another that it hashes.

The weights are read once by their load. They are not read a second time where the file is the one
whose SHA-256 the node has verified, before and after the load. Imported by the worker.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from engine.serving import errors
from storage.runtime import file_identity
from storage.runtime.file_identity import Identity

HASHED: Final = "hashed"
BOUND: Final = "bound"


def look(path: Path) -> Identity:
    """The identity of a file that is about to be loaded.

    Raises:
        FileUnavailable: there is no such file.
    """
    try:
        return file_identity.of(path)
    except FileNotFoundError as error:
        raise errors.FileUnavailable(f"there is no model file at {path}") from error
    except OSError as error:
        raise errors.FileUnavailable(f"{path} cannot be read: {error.strerror}") from error


def prove(
    path: Path, sha256: str, *, before: Identity, verified: Identity | None
) -> tuple[str, str]:
    """The SHA-256 of the file that was loaded, and how it is known.

    `before` is its identity before the load, `sha256` what it has to be.

    Raises:
        ModelBroken: it is another file. FileUnavailable: it changed during the load, or is gone.
    """
    if look(path) != before:
        raise errors.FileUnavailable(f"{path} changed while it was loaded")
    if sha256 and before == verified:
        return sha256, BOUND
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise errors.FileUnavailable(f"{path} cannot be read: {error.strerror}") from error
    if sha256 and found != sha256:
        raise errors.ModelBroken(
            f"{path} is not the file that was registered: its SHA-256 is {found}"
        )
    return found, HASHED
