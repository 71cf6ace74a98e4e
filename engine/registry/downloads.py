"""Downloads one file over HTTP: resumable, and never mixed from two versions.

A download is a directory with the bytes so far (`file.part`) and the metadata of the file at its
source (`file.json`). An interrupted download is resumed with `Range` and `If-Range`; it starts over
if the source has changed or does not support ranges. Sizes are checked here, the caller verifies
SHA-256. The Hub announces the file's SHA-256 and commit in its first response. Knows nothing of
models or jobs. Imported by `engine.jobs`.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import msgspec

from engine.registry import disk_room, server_requests, server_responses
from engine.registry.sources import Hub, Remote

_BUFFER: Final = 1024 * 1024
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SPACE_EVERY: Final = 64 * 1024 * 1024


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of the file at its source.

    `validator` is its strong ETag or its Last-Modified; a resumed request is conditional on it.
    """

    url: str
    size_bytes: int | None = None
    validator: str | None = None
    sha256: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """The directory of a download."""

    directory: Path

    @property
    def part(self) -> Path:
        """The bytes so far."""
        return self.directory / "file.part"

    @property
    def _record(self) -> Path:
        return self.directory / "file.json"

    def known(self) -> Known | None:
        """The metadata of the last attempt; None before the first."""
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Known)
        except (OSError, msgspec.MsgspecError):
            return None

    def note(self, known: Known) -> None:
        """Store the metadata atomically."""
        new = self._record.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(known))
        new.replace(self._record)

    def begin_anew(self) -> None:
        """Discard the bytes so far."""
        self.part.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def size_bytes(self) -> int:
        """The number of bytes so far."""
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0


async def look_up(http: httpx.AsyncClient, source: Hub) -> Known:
    """The Hub's metadata of a file: its URL at a commit, its size, its SHA-256.

    Raises:
        Refused: there is no such file, or no access to it. Unavailable: the Hub did not answer.
    """
    asked = source.at(source.revision)
    what = f"hf://{source.repository}/{source.file}@{source.revision}"
    with server_responses.translated(what):
        response = await server_requests.head(http, asked)
    server_responses.accept(response, what, hub=True)
    etag = server_responses.etag(
        response.headers.get("x-linked-etag") or response.headers.get("etag")
    )
    size = response.headers.get("x-linked-size") or (
        None if response.is_redirect else response.headers.get("content-length")
    )
    commit = response.headers.get("x-repo-commit")
    if commit is not None and not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        raise server_responses.Refused(
            f"{what}: the Hub names the commit {commit[:80]!r}, which is not one."
        )
    return Known(
        url=source.at(commit or source.revision).url,
        size_bytes=server_responses.size(size),
        sha256=etag if etag is not None and _SHA256.fullmatch(etag) else None,
        commit=commit,
    )


async def announced_bytes(http: httpx.AsyncClient, source: Remote) -> int | None:
    """The size of a file behind a URL; None where the server does not say it without the file.

    Raises:
        Refused: there is no such file. Unavailable: the server did not answer.
    """
    with server_responses.translated(source.shown):
        response = await server_requests.ask_size(http, source)
    if response.status_code in {httpx.codes.NOT_FOUND, httpx.codes.GONE}:
        server_responses.accept(response, source.shown, hub=False)
    if response.status_code != httpx.codes.OK:
        return None
    return server_responses.size(response.headers.get("content-length"))


async def fetch(
    http: httpx.AsyncClient,
    source: Remote,
    download: Download,
    *,
    expected: Known | None = None,
    progress: Callable[[int, int | None], None],
    log: Callable[[str], None],
    free_bytes: Callable[[Path], int] = disk_room.free_bytes,
) -> Known:
    """Download the file to `download.part`; resume an earlier attempt if possible.

    `expected` is the Hub's metadata; the response must agree with it.

    Raises:
        Refused: it cannot be downloaded, or the disk is too full. Unavailable: call again.
    """
    before = download.known()
    offset = download.size_bytes()
    if before is None or before.url != source.shown or before.validator is None:
        if offset:
            log("The file cannot be resumed; starting over.")
        download.begin_anew()
        before, offset = None, 0
    if before is not None and before.size_bytes is not None and offset == before.size_bytes:
        progress(offset, offset)
        return before
    headers = {}
    if before is not None and offset:
        headers = {"range": f"bytes={offset}-", "if-range": before.validator or ""}
        log(f"Resuming at byte {offset}.")
    with server_responses.translated(source.shown):
        async with server_requests.get(http, source, headers) as response:
            return await _receive(
                response,
                _Target(source, download, before, offset, expected, progress, log, free_bytes),
            )


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a response is written to, and what it must agree with."""

    source: Remote
    download: Download
    before: Known | None
    offset: int
    expected: Known | None
    progress: Callable[[int, int | None], None]
    log: Callable[[str], None]
    free_bytes: Callable[[Path], int]


async def _receive(response: httpx.Response, target: _Target) -> Known:
    url, download, offset = target.source.shown, target.download, target.offset
    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        if target.before is not None and server_responses.whole(response) == offset:
            known = msgspec.structs.replace(target.before, size_bytes=offset)
            download.note(known)  # it was complete; only its size was unknown
            return known
        download.begin_anew()
        raise server_responses.Unavailable(
            f"{url} became shorter during the download; starting over."
        )
    server_responses.accept(response, url, hub=target.expected is not None)
    resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
    size = (
        server_responses.total(response, url, offset)
        if resumed
        else server_responses.size(response.headers.get("content-length"))
    )
    validator = server_responses.validator(response)
    if resumed and _differs(target.before, size, validator):
        download.begin_anew()
        raise server_responses.Unavailable(
            f"{url} changed at its source during the download; starting over."
        )
    if not resumed and offset:
        target.log("The source has changed or does not support ranges; starting over.")
        offset = 0
    expected = target.expected
    if expected is not None and None not in {expected.size_bytes, size}:
        _agree(url, expected.size_bytes or 0, size or 0, download)
    known = Known(
        url=url,
        size_bytes=size,
        validator=validator,
        sha256=None if expected is None else expected.sha256,
        commit=None if expected is None else expected.commit,
    )
    if not resumed:
        download.begin_anew()
    download.note(known)
    _need_room(target, 0 if size is None else size - offset)
    await _write(response, target, offset, size)
    return known


async def _write(response: httpx.Response, target: _Target, offset: int, size: int | None) -> None:
    """Append the body; the bytes before an error are kept."""
    arrived, checked = offset, offset
    target.progress(arrived, size)
    with target.download.part.open("ab", buffering=_BUFFER) as file:
        async for piece in response.aiter_raw():
            if arrived == 0:
                _look_at(target.source.shown, piece)
            arrived += len(piece)
            if size is not None and arrived > size:
                file.close()
                target.download.begin_anew()
                raise server_responses.Refused(
                    f"{target.source.shown} sent more than the {size} bytes it announced."
                )
            file.write(piece)
            if arrived - checked >= _SPACE_EVERY:
                checked = arrived
                _need_room(target, 0)
            target.progress(arrived, size)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    if size is not None and arrived < size:
        raise server_responses.Unavailable(
            f"{target.source.shown} ended after {arrived} of {size} bytes."
        )


def _look_at(url: str, piece: bytes) -> None:
    """Refuse what is not a GGUF by its first bytes, before the rest is downloaded."""
    if not piece.startswith(b"GGUF"[: len(piece)]):
        raise server_responses.Refused(
            f"{url} is not a GGUF file: it does not begin with the letters GGUF."
        )


def _differs(before: Known | None, size: int | None, validator: str | None) -> bool:
    if before is None:
        return True
    sizes = before.size_bytes is not None and size is not None and before.size_bytes != size
    return sizes or (validator is not None and validator != before.validator)


def _agree(url: str, expected: int, size: int, download: Download) -> None:
    if expected != size:
        download.begin_anew()
        raise server_responses.Refused(
            f"{url} has {size} bytes; the Hub says that the file has {expected}."
        )


def _need_room(target: _Target, more: int) -> None:
    disk_room.need(target.download.directory, target.source.shown, more, target.free_bytes)
