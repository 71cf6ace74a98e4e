"""A journal of the requests of the last moments, so that a killed gateway loses none.

A request is written here when it begins and again when it has ended, before the last byte of its
answer is sent; the store has it up to a second later. What a killed gateway left is recovered by
the next one: ended requests as they ended, begun ones as failed with `gateway_lost`. Recovering
twice changes nothing, because a request is recorded once by its id.

One `write` per entry and no fsync: it survives the death of the process, not that of the machine.
Texts are in it only where the service records them. What the store has leaves it within a second
when no request is under way, and otherwise once the file has grown to `TIDY_BYTES`. A journal that
cannot be written costs no answer: `trouble` says why, and `tidy` tries again. Imported by
`engine.execution.recorder`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from storage import texts
from storage.requests import Outcome, Request
from storage.texts import Text

LOST: Final = "gateway_lost"
"""The error code of a request whose gateway died before its answer was complete."""
TIDY_BYTES: Final = 4 * 1024 * 1024
"""The size from which the journal is rewritten to what the store does not have."""

_SAID: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "the disk is full"),
    **dict.fromkeys((errno.EISDIR, errno.ELOOP), "it is not a regular file; rename or remove it"),
}
_PAUSE_LIMIT: Final = 32  # calls of `tidy`
_HEAD: Final = struct.Struct("<II")  # length and CRC-32 of what follows

_log = structlog.get_logger("gateway.journal")


class _Store(msgspec.Struct, frozen=True, tag="store"):
    """The first entry: whose requests these are."""

    id: str


class _Begun(msgspec.Struct, frozen=True, tag="begun"):
    """A request that begins, as it is recorded if its end is never known."""

    request: Request


class _Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A request that has ended, with its text where the service records texts."""

    request: Request
    text: Text | None = None


_Entry = _Store | _Begun | _Ended
Row = tuple[Request, Text | None]

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Entry)


class Journal:
    """Made by `open`. `trouble` is why it cannot be written, None while it can."""

    def __init__(self, path: Path, store: str) -> None:
        """Nothing is open yet."""
        self._path = path
        self._store = _Store(store)
        self._descriptor = -1
        self._size = 0
        self._limit = TIDY_BYTES
        self._pause = 0
        self._patience = 1
        self._begun: dict[str, bytes] = {}
        self._since: list[bytes] | None = None  # entries made while the file is being rewritten
        self.trouble: str | None = None

    def begun(self, request: Request) -> None:
        """Enter a request that begins; `request` is how it is recorded if its end is lost."""
        failed = msgspec.structs.replace(request, outcome=Outcome.FAILED, error_code=LOST)
        frame = _frame(_Begun(failed))
        self._begun[request.id] = frame
        self._append(frame)

    def ended(self, request: Request, text: Text | None) -> None:
        """Enter a request that has ended."""
        self._begun.pop(request.id, None)
        self._append(_end(request, text))

    async def tidy(self, held: Iterable[Row], count: int) -> None:
        """Drop what the store has by now: all but the `count` rows that are `held`.

        Without any the file is emptied, so that no text stays in it longer than in memory;
        otherwise it is rewritten once it has grown, in a thread: while the store takes no writes,
        that may be many megabytes. A journal that could not be written is tried again, less and
        less often.
        """
        if self.trouble is not None:
            self._pause -= 1
            if self._pause > 0:
                return
        elif not count and not self._begun:
            self._empty()
            return
        elif self._size < self._limit:
            return
        rows, begun, self._since = list(held), list(self._begun.values()), []
        try:
            descriptor, size = await asyncio.to_thread(self._fresh, rows, begun)
            self._replace(descriptor, size)
        except OSError as error:
            self._fail(error)
        finally:
            self._since = None

    def close(self) -> None:
        """Close the file; what the store does not have stays in it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def recover(self) -> list[Row]:
        """Open the file; returns the requests that an earlier gateway left in it, oldest first."""
        try:
            self._descriptor = _opened(self._path)
            with os.fdopen(os.dup(self._descriptor), "rb") as file:
                content = file.read()
        except OSError as error:
            self._fail(error)
            return []
        entries, whole = read(content)
        if whole < len(content):
            _log.warning("the journal ends in a torn entry", at=whole, bytes=len(content) - whole)
        if entries and entries[0] != self._store:
            _log.error("the journal of another store is dropped", entries=len(entries))
            entries = []
        rows = _rows(entries)
        try:
            self._replace(*self._fresh(rows, []))
        except OSError as error:
            self._fail(error)
        if rows:
            _log.warning("requests of an earlier gateway are recorded", requests=len(rows))
        return rows

    def _append(self, frame: bytes) -> None:
        if self._since is not None:
            self._since.append(frame)
        if self.trouble is not None:
            return
        try:
            _write(self._descriptor, frame)
        except OSError as error:
            self._fail(error)
            with contextlib.suppress(OSError):  # later entries must not follow a torn one
                os.ftruncate(self._descriptor, self._size)
        else:
            self._size += len(frame)

    def _empty(self) -> None:
        first = len(_frame(self._store))
        if self._size == first:
            return
        try:
            os.ftruncate(self._descriptor, first)
        except OSError as error:
            self._fail(error)
        else:
            self._size = first

    def _fresh(self, rows: Iterable[Row], begun: Iterable[bytes]) -> tuple[int, int]:
        """Write a new file with what the store does not have; its descriptor and size.

        Touches nothing that the event loop uses.

        Raises:
            OSError: it cannot be written.
        """
        frames = [_frame(self._store), *begun, *(_end(request, text) for request, text in rows)]
        content = b"".join(frames)
        fresh = self._new()
        fresh.unlink(missing_ok=True)
        descriptor = _opened(fresh)
        try:
            _write(descriptor, content)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor, len(content)

    def _replace(self, descriptor: int, size: int) -> None:
        """Replace this file by the new one atomically, after adding the entries made meanwhile.

        Raises:
            OSError: it cannot be written.
        """
        late = b"".join(self._since or ())
        try:
            if late:
                _write(descriptor, late)
            self._new().replace(self._path)
        except OSError:
            os.close(descriptor)
            raise
        self.close()
        self._descriptor, self._size = descriptor, size + len(late)
        self._limit = max(TIDY_BYTES, 2 * self._size)
        if self.trouble is not None:
            _log.info("the journal can be written again")
        self.trouble, self._patience = None, 1

    def _new(self) -> Path:
        return self._path.with_suffix(".new")

    def _fail(self, error: OSError) -> None:
        if self.trouble is None:
            _log.warning("the journal cannot be written", reason=str(error))
        self._pause = self._patience
        self._patience = min(2 * self._patience, _PAUSE_LIMIT)
        why = _SAID.get(error.errno or 0) or error.strerror or str(error)
        self.trouble = (
            f"{self._path} cannot be written ({why}): requests of the last second are lost if the "
            "gateway is killed now."
        )


def open(path: Path, store: str) -> tuple[Journal, list[Row]]:
    """The journal of a store, and what an earlier gateway left in it."""
    journal = Journal(path, store)
    return journal, journal.recover()


def read(content: bytes) -> tuple[list[_Entry], int]:
    """The entries of a journal up to the first torn one, and the offset of that one."""
    entries: list[_Entry] = []
    at = 0
    for entry, end in _entries(content):
        entries.append(entry)
        at = end
    return entries, at


def _entries(content: bytes) -> Iterator[tuple[_Entry, int]]:
    at = 0
    while at + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, at)
        begin, end = at + _HEAD.size, at + _HEAD.size + length
        body = content[begin:end]
        if end > len(content) or zlib.crc32(body) != checksum:
            return
        try:
            yield _decoder.decode(body), end
        except msgspec.MsgspecError:
            _log.warning("an entry of another version of Paddock is dropped", at=at)
        at = end


def _rows(entries: Iterable[_Entry]) -> list[Row]:
    """The requests in the order of their ends; those that only began come last."""
    begun: dict[str, Request] = {}
    ended: dict[str, Row] = {}
    for entry in entries:
        if isinstance(entry, _Begun):
            begun[entry.request.id] = entry.request
        elif isinstance(entry, _Ended):
            ended[entry.request.id] = entry.request, entry.text
    lost = [(request, None) for id, request in begun.items() if id not in ended]
    return [*ended.values(), *lost]


def _end(request: Request, text: Text | None) -> bytes:
    try:
        return _frame(_Ended(request, text))
    except UnicodeEncodeError:  # a lone surrogate in a prompt
        assert text is not None  # noqa: S101 the rest of a request is plain
        fields = {
            "prompt": texts.storable(text.prompt),
            "completion": texts.storable(text.completion),
        }
        return _frame(_Ended(request, msgspec.structs.replace(text, **fields)))


def _frame(entry: _Entry) -> bytes:
    body = _encoder.encode(entry)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _write(descriptor: int, content: bytes) -> None:
    if os.write(descriptor, content) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _opened(path: Path) -> int:
    """A file that only its owner reads, to be written at its end; a FIFO would block."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file; rename or remove it")
    return descriptor
