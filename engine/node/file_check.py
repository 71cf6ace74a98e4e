"""Whether the files of a model are still the ones that were registered.

Size, modification time and inode are compared first; only if they differ is a file read again.
Never writes. Imported by `engine.node`.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.node.planning import Weights
from storage.model_files import ModelFile
from storage.runtime import file_identity
from storage.runtime.file_identity import Identity

_CHUNK: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checked:
    """What files were found to be: `refusal` says which is not the one that was registered.

    `verified` are the identities of the files with the registered content; empty where a file is
    missing, which the load reports.
    """

    refusal: str | None = None
    verified: tuple[Identity, ...] = ()


async def check(weights: Weights) -> Checked:
    """Whether loading the files would load what was registered.

    A file of the size, modification time and inode that were recorded is not read again.
    """
    verified = []
    for file in weights.files:
        path = Path(file.path)
        try:
            now = await asyncio.to_thread(file_identity.of, path)
            if not file.identity.fits(now) and (found := await _hash(path)) != file.sha256:
                return Checked(
                    f"{path} is not the file that was registered: its SHA-256 is {found[:16]}…, "
                    f"not {file.sha256[:16]}…; add it as a new version"
                )
        except OSError:
            return Checked()
        verified.append(now)
    return Checked(verified=tuple(verified))


async def overwritten(file: ModelFile) -> str | None:
    """Why a file that a worker has mapped is no longer the registered one; None if it is."""
    path = Path(file.path)
    try:
        found = await _hash(path)
    except OSError as error:
        return f"{path} cannot be read while it is served: {error.strerror or error}"
    if found == file.sha256:
        return None
    return (
        f"{path} was overwritten while it was served: its SHA-256 is {found[:16]}…, "
        f"not {file.sha256[:16]}…; put the registered file back and add it again, or add this "
        "one as a new version"
    )


async def _hash(path: Path) -> str:
    """The SHA-256 in hex; cancelling ends the thread too, which would delay the node's exit."""
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(_read, path, cancelled)
    finally:
        cancelled.set()


def _read(path: Path, cancelled: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while not cancelled.is_set() and (chunk := file.read(_CHUNK)):
            digest.update(chunk)
    return digest.hexdigest()
