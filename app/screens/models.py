"""Model versions as a family tree, with their aliases, where they are loaded, and the proof of it.

Below the list is what is known of the version under the cursor. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from app import snapshot, words
from app.screens.place import Place
from app.widgets import bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row, Table

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


class Models(Place):
    """The registry."""

    where: ClassVar[str] = "models"

    def __init__(self) -> None:
        super().__init__()
        self._shown: Sequence[snapshot.ModelRow] = ()

    def body(self) -> Iterable[Widget]:
        """What is listed, the list, and the version under the cursor."""
        yield Lines(id="title", grows=True)
        yield Table(id="list")
        yield Lines(id="detail", grows=True)

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw the list."""
        if current.models is None:
            said = current.header.error or ("" if self._shown else "reading the store…")
            if said:
                self.query_one("#title", Lines).show(bar.saying(said, "bold", self.size.width))
            return
        self._shown = current.models
        loaded = sum(bool(version.loaded) for version in self._shown)
        about = f"{words.counted(len(self._shown), 'version')}, {loaded} loaded"
        self.query_one("#title", Lines).show([palette.rule(self.size.width, "MODELS", about)])
        self.query_one(Table).show_table(
            COLUMNS,
            [row(version) for version in self._shown],
            "no models yet: `paddock models add FILE --name NAME --version 1.0.0` adds one",
        )
        self._detail()

    def _detail(self) -> None:
        version = self._version()
        rows = [] if version is None else detail(version, self.size.width)
        self.query_one("#detail", Lines).show(rows)

    def _version(self) -> snapshot.ModelRow | None:
        cursor = self.query_one(Table).cursor
        return next((each for each in self._shown if str(each.id) == cursor), None)

    def moved(self, key: str) -> bool:
        """Move the cursor."""
        if not self.query_one(Table).key(key):
            return False
        self._detail()
        return True

    def copied(self) -> str:
        """The name of the version under the cursor."""
        version = self._version()
        return "" if version is None else version.name
