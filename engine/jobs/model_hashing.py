"""The fifth step of adding a model: its files are hashed, and compared with what was expected.

Imported by `engine.jobs.add_model`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from engine.jobs import model_sources
from engine.jobs.context import Context
from engine.jobs.errors import Refused
from storage.runtime import file_identity
from storage.runtime.file_identity import Identity

_CHUNK: Final = 4 * 1024 * 1024


class HashedFile(msgspec.Struct, frozen=True):
    """One file: its SHA-256, and the identity by which it is recognised without hashing."""

    sha256: str
    identity: Identity


class Hashed(msgspec.Struct, frozen=True, kw_only=True):
    """The hash of the model, and of each part of a split one, with the files' identities.

    `size_bytes` is the sum over all files; the modification time and inode are the first file's.
    """

    sha256: str
    size_bytes: int
    mtime_ns: int
    inode: int | None = None
    parts: tuple[HashedFile, ...] = ()

    @property
    def files(self) -> tuple[HashedFile, ...]:
        """The file, or the parts in order."""
        whole = HashedFile(self.sha256, Identity(self.size_bytes, self.mtime_ns, self.inode))
        return self.parts or (whole,)


async def hash(context: Context) -> Hashed:
    """Hash the files, with progress, and compare with the SHA-256 asked for or announced."""
    asked, found = model_sources.asked_of(context), model_sources.located(context)
    paths = model_sources.paths(context)
    try:
        total = sum([(await asyncio.to_thread(path.stat)).st_size for path in paths])
        hashed: list[HashedFile] = []
        for path, file in zip(paths, found.files, strict=True):
            done = sum(each.identity.size_bytes for each in hashed)
            each = await asyncio.to_thread(
                _hashed, path, file.shown, _progress(context, done, total)
            )
            _compare(file.shown, each.sha256, file.sha256, "announced")
            hashed.append(each)
    except OSError as error:
        raise Refused(f"{found.shown} cannot be read: {error.strerror or error}.") from error
    whole = file_identity.whole([each.sha256 for each in hashed])
    _compare(found.shown, whole, asked.sha256, "asked for")
    first = hashed[0].identity
    return Hashed(
        sha256=whole,
        size_bytes=total,
        mtime_ns=first.mtime_ns,
        inode=first.inode,
        parts=tuple(hashed) if len(hashed) > 1 else (),
    )


def _compare(name: str, sha256: str, expected: str | None, source: str) -> None:
    if expected is not None and expected != sha256:
        raise Refused(
            f"{name} is not the file that was {source}: its SHA-256 is {sha256}, "
            f"not {expected}. Nothing was kept."
        )


def _progress(context: Context, before: int, total: int) -> Callable[[int], None]:
    """Reports progress over all files, of which earlier ones have `before` bytes."""

    def report(done: int) -> None:
        context.progress(before + done, total, "B")

    return report


def _hashed(path: Path, name: str, progress: Callable[[int], None]) -> HashedFile:
    """The hash of a file; raises Cancelled between two chunks, Refused if it changes meanwhile."""
    before, digest, done = file_identity.of(path), hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        progress(0)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(done)
    if file_identity.of(path) != before:
        raise Refused(f"{name} changed while it was hashed; add it again once it is complete.")
    return HashedFile(digest.hexdigest(), before)
