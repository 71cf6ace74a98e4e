"""Releases, and where each is live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.snapshot.traffic import Readiness, Service

if TYPE_CHECKING:
    from storage.release_content import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRow:
    """One release; `live` are the weights of the splits that name it, by service.

    `rollouts` are those under way that it is the candidate of, in words.
    """

    number: int
    sha256: str
    model: str
    prompt: str
    deployment: str
    at_us: int
    by: str
    comment: str
    live: tuple[tuple[str, int], ...]
    rollouts: tuple[str, ...]
    content: Content

    @property
    def name(self) -> str:
        """As people write it: r14."""
        return f"r{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """The releases, newest first, with the services whose splits may name them.

    `retired` is how many were left out, because they are out of use for good.
    """

    rows: tuple[ReleaseRow, ...]
    services: tuple[Service, ...]
    waits: Mapping[int, Readiness]
    retired: int = 0
