"""The box as a walk uses it: its store, patiently, and its clock.

Imported by `runbooks`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from storage.store import Session, Store

BY: Final = "runner"
"""The principal of what the runner records."""

T = TypeVar("T")
Work = Callable[[Session], Awaitable[T]]


class Box(Protocol):
    """The store as a walk uses it: it waits where the store cannot be used."""

    store: Store
    now_us: Callable[[], int]

    async def read(self, work: Work[T]) -> T:
        """Do it on one snapshot."""

    async def write(self, work: Work[T]) -> T:
        """Do it in one durable transaction."""

    async def patiently(self, do: Callable[[], Awaitable[T]]) -> T:
        """Do it, again and again while the store cannot be used."""

    async def news(self, timeout_s: float) -> None:
        """Wait until something may have changed, or the time is over."""
