"""One result of an examination."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works now, and something will go wrong
    PROBLEM = "problem"  # something does not work
    UNKNOWN = "unknown"  # it could not be checked


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found about one part; `advice` is empty where nothing has to be done."""

    level: Level
    subject: str
    sentence: str
    advice: str = ""


def ok(subject: str, sentence: str) -> Finding:
    """Nothing has to be done."""
    return Finding(level=Level.OK, subject=subject, sentence=sentence)


def warning(subject: str, sentence: str, advice: str) -> Finding:
    """It works now, and something will go wrong."""
    return Finding(level=Level.WARNING, subject=subject, sentence=sentence, advice=advice)


def problem(subject: str, sentence: str, advice: str) -> Finding:
    """Something does not work."""
    return Finding(level=Level.PROBLEM, subject=subject, sentence=sentence, advice=advice)


def unknown(subject: str, sentence: str, advice: str = "") -> Finding:
    """It could not be checked."""
    return Finding(level=Level.UNKNOWN, subject=subject, sentence=sentence, advice=advice)
