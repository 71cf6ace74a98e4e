"""Rows become files that other programs read, whole or not at all."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from app import errors
from app.exports import formats
from app.exports.formats import Cell, Field, Format

FIELDS = [Field("at_us", int), Field("tenant", str), Field("error_rate_ratio", float),
          Field("stream", bool)]  # fmt: skip
ROWS: list[Sequence[Cell]] = [
    [1, 'a, "b"\nc', 0.25, True],
    [2**53 + 1, None, None, False],
    [3, "Ü", 0.5, None],
]


async def _rows(
    found: Sequence[Sequence[Cell]] = ROWS, stop: bool = False
) -> AsyncIterator[Sequence[Cell]]:
    for row in found:
        yield row
    if stop:
        raise RuntimeError("the store is gone")


async def test_csv_is_read_back_as_it_was(tmp_path: Path) -> None:
    """Commas, quotes and line ends are quoted; what is not known is empty."""
    out = tmp_path / "rows.csv"
    assert await formats.write(_rows(), FIELDS, Format.CSV, str(out)) == 3
    with out.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["at_us", "tenant", "error_rate_ratio", "stream"]
    assert rows == [
        ["1", 'a, "b"\nc', "0.25", "true"],
        [str(2**53 + 1), "", "", "false"],
        ["3", "Ü", "0.5", ""],
    ]


async def test_json_lines_are_read_back_as_they_were(tmp_path: Path) -> None:
    """An object a line; what is not known is null."""
    out = tmp_path / "rows.jsonl"
    await formats.write(_rows(), FIELDS, Format.JSONL, str(out))
    read = [json.loads(line) for line in out.read_text().splitlines()]
    assert [list(row.values()) for row in read] == ROWS
    assert list(read[0]) == [field.name for field in FIELDS]


async def test_parquet_is_read_back_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With types, also of a column that is unknown throughout, in more than one row group."""
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(formats, "_GROUP", 2)
    out = tmp_path / "rows.parquet"
    await formats.write(_rows(), FIELDS, Format.PARQUET, str(out))
    table = parquet.read_table(out)
    assert [list(row.values()) for row in table.to_pylist()] == ROWS
    assert [str(each) for each in table.schema.types] == ["int64", "string", "double", "bool"]
    assert parquet.ParquetFile(out).num_row_groups == 2


async def test_without_pyarrow_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no file is begun."""
    gone: dict[str, ModuleType | None] = {"pyarrow": None, "pyarrow.parquet": None}
    for name, module in gone.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(errors.AppError, match=r"pip install 'paddock\[parquet\]'"):
        await formats.write(_rows(), FIELDS, Format.PARQUET, str(tmp_path / "rows.parquet"))
    assert list(tmp_path.iterdir()) == []


async def test_an_export_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    """The file before it stays whole, and nothing lies beside it."""
    out = tmp_path / "rows.csv"
    out.write_text("before")
    with pytest.raises(RuntimeError):
        await formats.write(_rows(stop=True), FIELDS, Format.CSV, str(out))
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


async def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A folder that is missing, and a path that is no regular file."""
    for path, said in ((tmp_path / "gone" / "x.csv", "cannot be written"), (tmp_path, "regular")):
        with pytest.raises(errors.AppError, match=said):
            await formats.write(_rows(), FIELDS, Format.CSV, str(path))


@pytest.mark.parametrize(
    ("path", "format"),
    [("a.csv", "csv"), ("b.JSONL", "jsonl"), ("c.ndjson", "jsonl"), ("d.parquet", "parquet"),
     ("e.txt", None), ("csv", None)],
)  # fmt: skip
def test_the_name_of_a_file_says_the_format(path: str, format: str | None) -> None:
    """By its ending, however it is written."""
    assert formats.named(path) == format
