"""Alerts, silences, receivers and alert rules: the rows of one list."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Of(StrEnum):
    """What a row of the list is about."""

    ALERT = "alert"
    SILENCE = "silence"
    WINDOW = "window"  # of maintenance
    RECEIVER = "receiver"
    RULE = "rule"


class Tone(StrEnum):
    """How urgent a row is."""

    BAD = "bad"  # a person has to act
    WARN = "warn"
    QUIET = "quiet"  # it is over, or muted
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """One row.

    `name` is what a verb has as its target. `at_us` is when its state began, or for a silence when
    it ends. `matchers` are those of a silence of it; `silence` is the number of the one that it is,
    or that it is silenced by. `incident` is the number of the one that an alert joined, 0 without
    one; `runbook` that of an alert or of a rule.
    """

    of: Of
    name: str
    title: str
    about: str
    state: str
    tone: Tone = Tone.PLAIN
    severity: str = ""
    at_us: int | None = None
    fires: bool = False
    acknowledged_by: str = ""
    matchers: tuple[str, ...] = ()
    silence: str = ""
    incident: int = 0
    runbook: str = ""

    @property
    def key(self) -> str:
        """Alert 3, silence 2, receiver ops, rule errors."""
        return f"{self.of.value} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """All rows: what fires first; what is known of the one with the key `shown`, by name."""

    rows: tuple[AlertRow, ...]
    shown: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    firing: int = 0
