"""Incidents: the list, and one in full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRow:
    """One incident in the list; `service` is empty where it concerns the whole box."""

    id: int
    title: str
    service: str
    severity: str
    state: str
    commander: str
    began_at_us: int
    until_us: int | None  # when clients ceased to be affected; None while they are
    version: int

    @property
    def name(self) -> str:
        """As people call it: INC-31."""
        return f"INC-{self.id}"

    @property
    def active(self) -> bool:
        """Whether clients are affected, as far as people know."""
        return self.until_us is None

    @property
    def closed(self) -> bool:
        """Whether work on it has ended."""
        return self.state == "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident as the command prints it, row by row; `timeline` is its newest part."""

    row: IncidentRow
    lines: tuple[str, ...]
    timeline: tuple[tuple[int, str, str], ...]  # when, who, what


@dataclass(frozen=True, slots=True, kw_only=True)
class Incidents:
    """The incidents, newest first, and the one under the cursor in full."""

    rows: tuple[IncidentRow, ...]
    shown: Incident | None = None
