"""Which files a worker has loaded: those that were verified before, or others that it hashes.

The weights are read once by their load. They are not read a second time where the files are those
whose SHA-256 the node has verified, before and after the load. Imported by the worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.serving import errors
from storage.runtime import file_identity
from storage.runtime.file_identity import Identity

HASHED: Final = "hashed"
BOUND: Final = "bound"


def look(paths: Sequence[Path]) -> tuple[Identity, ...]:
    """The identities of the files that are about to be loaded.

    Raises:
        FileUnavailable: one of them is missing.
    """
    found = []
    for path in paths:
        try:
            found.append(file_identity.of(path))
        except FileNotFoundError as error:
            raise errors.FileUnavailable(f"there is no model file at {path}") from error
        except OSError as error:
            raise errors.FileUnavailable(f"{path} cannot be read: {error.strerror}") from error
    return tuple(found)


def prove(
    paths: Sequence[Path],
    sha256: str,
    *,
    before: Sequence[Identity],
    verified: Sequence[Identity],
) -> tuple[str, str]:
    """The SHA-256 of what was loaded from these files, and how it is known.

    `before` are their identities before the load, `sha256` is what it has to be.

    Raises:
        ModelBroken: it is something else. FileUnavailable: it changed during the load, or is gone.
    """
    for path, was, now in zip(paths, before, look(paths), strict=True):
        if now != was:
            raise errors.FileUnavailable(f"{path} changed while it was loaded")
    if sha256 and [*before] == [*verified]:
        return sha256, BOUND
    found = file_identity.whole([_hash(path) for path in paths])
    if sha256 and found != sha256:
        raise errors.ModelBroken(
            f"{paths[0]} is not the model that was registered: its SHA-256 is {found}"
        )
    return found, HASHED


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise errors.FileUnavailable(f"{path} cannot be read: {error.strerror}") from error
