"""Downloads a file from a file system that fsspec knows (s3, gs, sftp, …): resumable, never mixed.

The bytes so far and the identity of the file at its source are kept as `downloads` keeps them; an
interrupted download resumes if the file at the source is unchanged, and starts over
otherwise. Needs fsspec and the package of the protocol, which are not installed with Paddock.
Credentials come from where that package looks for them. Imported by `engine.jobs`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from engine.registry import disk_room
from engine.registry.downloads import Download, Known
from engine.registry.server_responses import Refused, Unavailable
from engine.registry.sources import Filesystem

_CHUNK: Final = 4 * 1024 * 1024
_INSTALL: Final = "install Paddock with its extra `remote`, and the package of the protocol"


async def fetch(
    source: Filesystem,
    download: Download,
    *,
    progress: Callable[[int, int | None], None],
    log: Callable[[str], None],
    free_bytes: Callable[[Path], int] = disk_room.free_bytes,
) -> Known:
    """Download the file to `download.part`; resume an earlier attempt if it is the same file.

    Raises:
        Refused: it cannot be downloaded, or the disk is too full. Unavailable: call again.
    """
    return await asyncio.to_thread(_fetch, source, download, progress, log, free_bytes)


async def look_up(source: Filesystem) -> Known:
    """Size and identity of a file at its source.

    Raises:
        Refused: there is no such file, or no access to it. Unavailable: call again.
    """

    def look() -> Known:
        with _translated(source.address):
            system, path = _open(source.address)
            return _look_up(system, path, source.address)

    return await asyncio.to_thread(look)


def _fetch(
    source: Filesystem,
    download: Download,
    progress: Callable[[int, int | None], None],
    log: Callable[[str], None],
    free_bytes: Callable[[Path], int],
) -> Known:
    with _translated(source.address):
        system, path = _open(source.address)
        known = _look_up(system, path, source.address)
        offset = _offset(download, known, log)
        more = (known.size_bytes or 0) - offset
        disk_room.need(download.directory, source.address, more, free_bytes)
        _copy(system, path, download, known, offset, progress)
    return known


@contextlib.contextmanager
def _translated(address: str) -> Iterator[None]:
    """Errors of a file system as those of a download."""
    try:
        yield
    except FileNotFoundError as error:
        raise Refused(f"{address}: there is no such file.") from error
    except PermissionError as error:
        raise Refused(f"{address}: access is denied; its credentials are wrong.") from error
    except OSError as error:
        raise Unavailable(f"{address}: {error}.") from error


def _open(address: str) -> tuple[Any, str]:
    """The file system and the path in it."""
    scheme = address.partition("://")[0]
    try:
        import fsspec  # noqa: PLC0415 an extra that most boxes do not need
    except ImportError as error:
        raise Refused(f"{address}: {scheme}:// needs fsspec; {_INSTALL}.") from error
    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise Refused(f"{address}: {error}; {_INSTALL}.") from error
    return system, str(path)


def _look_up(system: Any, path: str, address: str) -> Known:
    """Size and identity of the file at its source."""
    info = system.info(path)
    if info.get("type", "file") != "file":
        raise Refused(f"{address} is not a file.")
    marks = [str(info[name]) for name in ("ETag", "etag", "md5Hash", "mtime") if info.get(name)]
    size = info.get("size")
    return Known(
        url=address,
        size_bytes=size if isinstance(size, int) else None,
        validator=marks[0] if marks else None,
    )


def _offset(download: Download, known: Known, log: Callable[[str], None]) -> int:
    """From which byte on to download; what does not belong to this file is discarded."""
    offset, before = download.size_bytes(), download.known()
    if offset and (before != known or known.validator is None):
        log("The file cannot be resumed; starting over.")
        download.begin_anew()
        offset = 0
    elif offset:
        log(f"Resuming at byte {offset}.")
    download.note(known)
    return offset


def _copy(
    system: Any,
    path: str,
    download: Download,
    known: Known,
    offset: int,
    progress: Callable[[int, int | None], None],
) -> None:
    """Append what is missing; the bytes before an error are kept."""
    arrived = offset
    with download.part.open("ab") as file:
        if known.size_bytes is None or arrived < known.size_bytes:
            with system.open(path, "rb") as remote:
                remote.seek(offset)
                while piece := remote.read(_CHUNK):
                    if arrived == 0 and not piece.startswith(b"GGUF"):
                        raise Refused(
                            f"{known.url} is not a GGUF file: it does not begin with the letters "
                            "GGUF."
                        )
                    file.write(piece)
                    arrived += len(piece)
                    progress(arrived, known.size_bytes)
        file.flush()
        os.fsync(file.fileno())
    if known.size_bytes is not None and arrived != known.size_bytes:
        if arrived > known.size_bytes:
            download.begin_anew()
        raise Unavailable(f"{known.url} ended after {arrived} of {known.size_bytes} bytes.")
