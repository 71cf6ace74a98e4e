"""Lists on the command line: the columns of a noun, each with its title and what is in its cells.

A list is printed as aligned text or as JSON, one record of it as facts under each other. It reads
nothing. Imported by `app.commands`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app import terminal, words

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column; figures are aligned on the right."""

    title: str
    cell: Callable[[T], str]
    right: bool = False


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


def table(columns: Sequence[Column[T]], records: Sequence[T]) -> list[str]:
    """The records as aligned text below the titles."""
    rows = [[column.title for column in columns]]
    rows += [[column.cell(record) for column in columns] for record in records]
    return words.table(rows, right=[at for at, column in enumerate(columns) if column.right])


def facts(columns: Sequence[Column[T]], record: T) -> list[tuple[str, str]]:
    """One record as pairs of a name and a value."""
    return [(column.title.lower(), column.cell(record)) for column in columns]
