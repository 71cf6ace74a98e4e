"""A list of one kind of record, each with a number; enter opens the one under the cursor.

A place says which part of a snapshot it lists, how one is drawn, and which place shows one in full.
Imported by the places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from app import snapshot
from app.screens.listed import Listed
from app.widgets.table import Row


class HasNumber(Protocol):
    """A record as a snapshot has it."""

    @property
    def id(self) -> int:
        """Its number."""


T = TypeVar("T", bound=HasNumber)


class Numbered(Listed, Generic[T]):
    """The list."""

    opens: ClassVar[str] = ""
    """The place that shows one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: Sequence[T] = ()

    def listed(self, current: snapshot.Snapshot) -> Sequence[T] | None:
        """What the snapshot has for this place; None where it has nothing."""
        raise NotImplementedError

    def row(self, each: T) -> Row:
        """One of them as a row, without its key."""
        raise NotImplementedError

    def take(self, current: snapshot.Snapshot) -> bool:
        """Keep what is listed."""
        found = self.listed(current)
        if found is not None:
            self.shown = found
        return found is not None

    def rows(self) -> Sequence[Row]:
        """One for each."""
        return [self.row(each) for each in self.shown]

    def under(self) -> T | None:
        """The one under the cursor."""
        return next((each for each in self.shown if str(each.id) == self.cursor), None)

    def opened(self) -> tuple[str, str] | None:
        """The one under the cursor, in its place."""
        return (self.opens, self.cursor) if self.opens and self.cursor else None
