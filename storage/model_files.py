"""The files of a model version: one, or the parts of a split model in their order.

A part is kept with its own SHA-256; the version is identified by one SHA-256 of them all. Imported
by `storage.models`, `engine` and `app`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import msgspec

from storage.runtime.file_identity import Identity


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file; size, modification time and inode are those when its SHA-256 was last verified."""

    path: str
    sha256: str
    size_bytes: int
    mtime_ns: int
    inode: int | None = None

    @property
    def identity(self) -> Identity:
        """By what the file is recognised while it is unchanged."""
        return Identity(self.size_bytes, self.mtime_ns, self.inode)

    def seen(self, now: Identity) -> ModelFile:
        """The same file, recognised by how it looks now."""
        size_bytes, mtime_ns, inode = now
        return msgspec.structs.replace(self, size_bytes=size_bytes, mtime_ns=mtime_ns, inode=inode)


def encode(parts: Iterable[ModelFile]) -> str | None:
    """As the store keeps the parts of a split model; None for a model of one file."""
    kept = tuple(parts)
    return msgspec.json.encode(kept).decode() if kept else None


@functools.lru_cache(maxsize=256)
def decode(kept: str | None) -> tuple[ModelFile, ...]:
    """From what the store keeps."""
    return () if kept is None else msgspec.json.decode(kept, type=tuple[ModelFile, ...])
