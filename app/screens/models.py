"""Model versions as a family tree, with their aliases, where they are loaded, and the proof of it.

Below the list is what is known of the version under the cursor. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens.listed import LISTED
from app.screens.numbered import Numbered
from app.widgets import palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row

_TONES: Final = {"unloadable": "bad", "removed": "dim"}
_DIGITS: Final = 16
_LABEL: Final = 9

COLUMNS: Final = (
    Column(title="MODEL", width=22, most=40),
    Column(title="ALIASES", width=16, most=30),
    Column(title="KIND", width=7),
    Column(title="QUANT", width=8, rank=2, most=10),
    Column(title="SIZE", width=7, right=True, rank=1),
    Column(title="LOADED", width=13, most=30),
)


def row(version: snapshot.ModelRow) -> Row:
    """One version as a row."""
    state, tone = _loaded(version)
    cells: tuple[Piece, ...] = (
        (version.stem + version.name, "bold" if version.well else _TONES[version.status]),
        (" ".join(version.aliases), ""),
        (version.kind, "dim"),
        (version.quantisation, "dim"),
        (words.size(version.size_bytes), "dim"),
        (state, tone),
    )
    return Row(str(version.id), cells)


def _loaded(version: snapshot.ModelRow) -> tuple[str, str]:
    """Where it is loaded in a word, and its ink."""
    if not version.well:
        return f"▲ {version.status}", _TONES[version.status]
    if version.differences:
        return "▲ differs", "bad"
    if version.loaded:
        return f"● {len(version.loaded)} proved", "good"
    return ("○ starting", "warn") if version.waiting else (words.UNKNOWN, "dim")


def detail(version: snapshot.ModelRow, width: int) -> list[Line]:
    """What is known of the version under the cursor."""
    kind = version.kind + (f" on {version.base}" if version.base else "")
    rows: list[Line] = [palette.rule(width, version.name, kind)]
    if version.reason and not version.well:
        rows.append(((f" ▲ {version.reason}", "bad"),))
    rows += [((f" ▲ {each}", "bad"),) for each in version.differences]
    told = (
        ("file", version.path),
        ("source", version.source),
        ("sha256", f"{version.sha256[:_DIGITS]}…  {version.known}".rstrip()),
        ("lineage", version.made_from),
        ("memory", version.memory),
        ("loaded", ", ".join((*version.loaded, *version.waiting)) or "nowhere"),
        ("engine", version.build),
        ("serves", ", ".join(version.services) or "no service"),
    )
    rows += [((f" {label:<{_LABEL}}", "dim"), (value, "")) for label, value in told if value]
    return [palette.cut(each, width) for each in rows]


class Models(Numbered[snapshot.ModelRow]):
    """The registry."""

    where: ClassVar[str] = "models"
    acts: ClassVar = LISTED
    heading: ClassVar[str] = "MODELS"

    def listed(self, current: snapshot.Snapshot) -> Sequence[snapshot.ModelRow] | None:
        """The model versions."""
        return current.models

    def columns(self) -> Sequence[Column]:
        """What each is, and where it is loaded."""
        return COLUMNS

    def row(self, each: snapshot.ModelRow) -> Row:
        """One version."""
        return row(each)

    def caption(self) -> str:
        """How many there are."""
        loaded = sum(bool(version.loaded) for version in self.shown)
        return f"{words.counted(len(self.shown), 'version')}, {loaded} loaded"

    def empty(self) -> str:
        """How one is added."""
        return "no models yet: `paddock models add FILE --name NAME --version 1.0.0` adds one"

    def detail(self, width: int) -> list[Line]:
        """What is known of the version under the cursor."""
        version = self.under()
        return [] if version is None else detail(version, width)

    def copied(self) -> str:
        """The name of the version under the cursor."""
        version = self.under()
        return "" if version is None else version.name
