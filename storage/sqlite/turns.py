"""Several statements of a transaction in one turn of its connection's thread.

A statement through SQLAlchemy and to that thread and back costs ten times what SQLite takes for a
small one. What is written every second is therefore a function over a cursor of the driver
(DB-API 2), which reads, decides and writes without leaving the thread. Imported by `storage.store`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, Self, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors

T = TypeVar("T")

_MOST: Final = 2**63 - 1


class Cursor(Protocol):
    """What such functions use of a cursor."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed, with all of its parameters."""
        ...

    @property
    def lastrowid(self) -> int | None:
        """The number of the row that was inserted last."""
        ...

    def execute(
        self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ..., /
    ) -> Self:
        """Execute a statement."""
        ...

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> Self:
        """Execute a statement with each of the parameters."""
        ...

    def fetchone(self) -> Any:
        """The next row, None at the end."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left."""
        ...


async def at_once(s: AsyncSession, work: Callable[[Cursor], T]) -> T:
    """Call a function with a cursor inside the session's transaction, and return what it returns.

    It runs in another thread while the caller waits, so it must not touch the session. What the
    session holds and has not flushed is not seen by it. If it raises, end the transaction.

    Raises:
        Invalid: a number is larger than any in the store.
    """
    connection = await s.connection()
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection

    def turn() -> T:
        try:
            with contextlib.closing(driver.made()) as cursor:
                return work(cursor)
        except OverflowError as error:
            raise errors.Invalid(f"A number exceeds {_MOST}, the largest in the store.") from error

    found: T = await driver.turn(turn)
    return found
