"""The keys of the place one came from, what works everywhere, and what the figures mean.

What can be done is read from the table of actions, so it is the same on the command line.
Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from textual.widget import Widget

from app import snapshot
from app.screens import keymap
from app.screens.place import Place
from app.widgets import bar, palette
from app.widgets.lines import Lines
from app.widgets.palette import Line

if TYPE_CHECKING:
    from app.actions import Action

_KEY: Final = 7
_WORD: Final = 13

MEANING: Final = (
    ("now", "running: most at once in the last second; CPU, tok/s, busy: means of 10 s"),
    ("window", "all figures of arms and ttft p95: the last 5 min, or since the node started"),
    ("SET, ACTUAL", "share set, share measured; a range (95 %) while few requests say no more"),
    ("LAT, TTFT", "of answered requests: time to the last token, to the first; 95 % took less"),
    ("ERR, REFUSED", "share that failed; how many were sent away (429, 503), counted apart"),
    ("1k tok", "price of 1000 tokens; `paddock prices` sets what it follows from"),
    ("LIKED", "thumbs up of all thumbs that were given"),
    ("dimmed", "an arm that has left the split: until its requests leave the window"),
    ("+2 (!)", "in row 1: the number of other problems; ! shows all in full"),
    ("RO, RW", "this screen changes nothing until :rw, for 15 minutes; :ro ends that"),
    ("synthetic", "share of the requests that were asked by a key for synthetic load"),
    ("requests", "listed by when they ended, last first; IN, OUT: tokens; FROM: whose key"),
)
_LETTERED: Final = [where.name for where in keymap.PLACES.values() if where.key]
EVERYWHERE: Final = (
    *(f"look.{name}" for name in _LETTERED if name != "help"),
    "look.goto", "look.arm", "look.at", "look.freeze", "look.back", "look.previous", "look.quit",
)  # fmt: skip
_TYPED: Final = {"look.arm": ":rw", "look.at": ":at"}


def draw(of: type[Place], table: Sequence[Action], width: int) -> list[Line]:
    """The rows of help for a place."""
    known = {action.name: action for action in table}
    rows: list[Line] = []
    if of.acts:
        title = f"KEYS OF {of.where.upper()}"
        rows.append(palette.rule(width, title, "the same on the command line"))
        for name in of.acts:
            if name in known:
                rows += _rows(known[name], width, of.twins.get(name))
        if of.where != "pulse":
            rows.append(_plain("arrows", "move; page up, page down, home, end too"))
    rows.append(palette.rule(width, "EVERYWHERE", "the same on the command line"))
    for name in EVERYWHERE:
        rows += _rows(known[name], width) if name in known else []
    rows.append(palette.rule(width, "FIGURES"))
    for word, text in MEANING:
        for at, part in enumerate(bar.wrapped(text, max(width - _WORD - 2, 1))):
            rows.append(((f" {'' if at else word:<{_WORD}}", "bold"), (part, "")))
    return rows


def _plain(key: str, sentence: str) -> Line:
    return ((f" {key:<{_KEY}}", "key"), (sentence, ""))


def _rows(action: Action, width: int, opens: str | None = None) -> list[Line]:
    """An action with its command, beside it or below; what `enter` opens depends on the place."""
    key = _TYPED.get(action.name) or keymap.sign(action.key)
    command = opens or action.command
    shown: Line = ((f"paddock {command} ", "dim"),) if command else ()
    row = _plain(key, action.sentence)
    if palette.length(row) + palette.length(shown) < width:
        return [palette.spread(row, shown, width)]
    return [row, palette.spread((), shown, width)]


class Help(Place):
    """Help for the place one came from."""

    where: ClassVar[str] = "help"

    def __init__(self) -> None:
        super().__init__()
        self.of = "pulse"
        self.places: Mapping[str, type[Place]] = {}
        self.table: Sequence[Action] = ()
        self._top = 0

    def body(self) -> Iterable[Widget]:
        """One block of rows."""
        yield Lines(id="help")

    def path(self) -> str:
        """Help of what."""
        return f"{self.of} › help"

    def open(self, what: str) -> None:
        """Help for another place from now on."""
        self.of, self._top = what, 0

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw it; the snapshot does not matter here."""
        del current
        height = self.wide("help")[1]
        rows = draw(self.places[self.of], self.table, self.size.width)
        self._top = min(self._top, max(len(rows) - height, 0))
        shown = rows[self._top : self._top + height]
        left = len(rows) - self._top - height
        if left > 0 and shown:
            shown[-1] = ((f" … {left + 1} more rows: down, page down", "dim"),)
        self.query_one("#help", Lines).show(shown)

    def moved(self, key: str) -> bool:
        """Scroll."""
        steps = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10, "home": -1000, "end": 1000}
        if key not in steps:
            return False
        self._top = max(self._top + steps[key], 0)
        return True
