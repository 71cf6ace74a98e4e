"""Lists on the command line: the columns of a noun, each with its title and what is in its cells.

A list is printed as aligned text or as JSON, one record of it as facts under each other. It reads
nothing. Imported by `app.commands`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from app import terminal, words

T = TypeVar("T")
_INDENT: Final = "    "


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column; figures are aligned on the right, sentences may go below their row."""

    title: str
    cell: Callable[[T], str]
    right: bool = False
    below: bool = False  # in rows of their own where the terminal is too narrow for the table


def show(
    columns: Sequence[Column[T]],
    records: Sequence[T],
    *,
    as_json: bool,
    document: object = None,
    empty: str = "",
) -> None:
    """Print the records: as text a row each, as JSON themselves or what `document` has instead.

    `empty` is the sentence for when there are none; without one the titles are printed.
    """
    lines = [empty] if empty and not records else table(columns, records)
    terminal.show(records if document is None else document, lines, as_json=as_json)


def table(
    columns: Sequence[Column[T]], records: Sequence[T], width: int | None = None
) -> list[str]:
    """The records as aligned text below the titles.

    In a terminal (of `width` cells, else of this one's) that has no room for it, the columns that
    may go below are printed under their row. A pipe gets one line for each record.
    """
    lines = _aligned(columns, records)
    room = terminal.width() if width is None else width
    under = [column for column in columns if column.below]
    if room is None or not under or max(map(words.width, lines)) <= room:
        return lines
    head, *rows = _aligned([column for column in columns if not column.below], records)
    lines = [head]
    for row, record in zip(rows, records, strict=True):
        lines.append(row)
        for column in under:
            if (said := column.cell(record)) not in {"", words.UNKNOWN}:
                line = words.safe(f"{column.title.lower()}: {said}")
                lines += textwrap.wrap(
                    line, room, initial_indent=_INDENT, subsequent_indent=_INDENT * 2
                )
    return lines


def _aligned(columns: Sequence[Column[T]], records: Sequence[T]) -> list[str]:
    rows = [[column.title for column in columns]]
    rows += [[column.cell(record) for column in columns] for record in records]
    return words.table(rows, right=[at for at, column in enumerate(columns) if column.right])


def facts(columns: Sequence[Column[T]], record: T) -> list[tuple[str, str]]:
    """One record as pairs of a name and a value."""
    return [(column.title.lower(), column.cell(record)) for column in columns]
