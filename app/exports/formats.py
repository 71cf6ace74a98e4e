"""Rows as CSV, JSON lines or Parquet, into a file that appears whole or not at all, or to a pipe.

Parquet needs pyarrow, an extra of the package. It reads no store. Imported by
`app.commands.measures`.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

import msgspec

from app import errors, words

Cell = int | float | str | bool | None

_GROUP: Final = 10_000
"""Rows that Parquet holds in memory and writes together."""


class Format(StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Field:
    """A column: its name, which ends with its unit, and the type of its cells or None."""

    name: str
    type: type[int | float | str | bool]


class Writer(Protocol):
    """Writes rows as they come."""

    def row(self, cells: Sequence[Cell]) -> None:
        """One row, in the order of the columns."""

    def close(self) -> None:
        """Write what is left; the file stays open."""


def named(path: str) -> Format | None:
    """The format that a file's name says."""
    ending = Path(path).suffix.lower().removeprefix(".")
    return {"csv": Format.CSV, "jsonl": Format.JSONL, "ndjson": Format.JSONL,
            "parquet": Format.PARQUET}.get(ending)  # fmt: skip


async def write(
    rows: AsyncIterator[Sequence[Cell]],
    fields: Sequence[Field],
    format: Format,
    path: str | None,
) -> int:
    """Write all rows to a file, or without a path to standard output; how many.

    Raises:
        AppError: pyarrow is missing, or the file cannot be written; nothing is left of it then.
    """
    if format is Format.PARQUET:
        _arrow()
        if path is None:
            raise errors.BadWord("Parquet is binary; name a file with -o.")
    count = 0
    with _opened(path) as file:
        writer = _writer(format, fields, file)
        async for cells in rows:
            writer.row(cells)
            count += 1
        writer.close()
    return count


@contextlib.contextmanager
def _opened(path: str | None) -> Iterator[BinaryIO]:
    """Standard output, or a file beside `path` that takes its place once it is whole."""
    if path is None:
        yield cast("BinaryIO", _Terminal()) if sys.stdout.isatty() else sys.stdout.buffer
        sys.stdout.flush()
        return
    target = Path(path)
    if target.exists() and not target.is_file():
        raise errors.AppError(f"{target} is not a regular file; name another.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise errors.AppError(f"{target} cannot be written: {error.strerror}.") from None
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise errors.AppError(f"{target} was not written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)


class _Terminal(io.RawIOBase):
    """A terminal, to which names of outsiders send no control characters."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        text = bytes(data).decode()
        sys.stdout.write("\n".join(map(words.safe, text.split("\n"))))
        return len(data)


def _writer(format: Format, fields: Sequence[Field], file: BinaryIO) -> Writer:
    match format:
        case Format.CSV:
            return _Csv(fields, file)
        case Format.JSONL:
            return _JsonLines(fields, file)
        case Format.PARQUET:
            return _Parquet(fields, file)


class _Csv:
    """RFC 4180 with line feeds; what is not known is empty."""

    def __init__(self, fields: Sequence[Field], file: BinaryIO) -> None:
        self._file = file
        self.row([field.name for field in fields])

    def row(self, cells: Sequence[Cell]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(
            ["" if cell is None else str(cell).lower() if cell is True or cell is False else cell
             for cell in cells]
        )  # fmt: skip
        self._file.write(line.getvalue().encode())

    def close(self) -> None:
        pass


class _JsonLines:
    """An object for each row; what is not known is null."""

    def __init__(self, fields: Sequence[Field], file: BinaryIO) -> None:
        self._file = file
        self._names = [field.name for field in fields]

    def row(self, cells: Sequence[Cell]) -> None:
        self._file.write(msgspec.json.encode(dict(zip(self._names, cells, strict=True))) + b"\n")

    def close(self) -> None:
        pass


class _Parquet:
    """Row groups of ten thousand rows."""

    def __init__(self, fields: Sequence[Field], file: BinaryIO) -> None:
        self._arrow, parquet = _arrow()
        types = {
            int: self._arrow.int64(), float: self._arrow.float64(),
            str: self._arrow.string(), bool: self._arrow.bool_(),
        }  # fmt: skip
        self._fields = fields
        self._schema = self._arrow.schema([(each.name, types[each.type]) for each in fields])
        self._out = parquet.ParquetWriter(file, self._schema)
        self._rows: list[Sequence[Cell]] = []

    def row(self, cells: Sequence[Cell]) -> None:
        self._rows.append(cells)
        if len(self._rows) == _GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._out.close()

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [
                self._arrow.array(cells, type=field.type)
                for field, cells in zip(self._schema, columns, strict=True)
            ]
            self._out.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
            self._rows = []


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise errors.AppError(
            "Parquet needs pyarrow, which is not installed: `pip install 'paddock[parquet]'`, or "
            "write CSV or JSON lines."
        ) from None
