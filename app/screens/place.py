"""What all places have in common: the header, a body, the bar, the keys.

A place draws snapshots that it is handed and says what it wants to be handed; it reads nothing by
itself and has no timer, so a covered place costs nothing. Imported by the places and `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol, cast

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget

from app import snapshot, words
from app.screens import keymap
from app.snapshot import Query
from app.widgets import palette
from app.widgets.bar import Bar
from app.widgets.chart import Glyphs
from app.widgets.header import HeaderRow, Mode
from app.widgets.lines import Lines
from app.widgets.palette import Line

WIDTH: Final = 80
HEIGHT: Final = 22  # of 24, tmux takes one row for its status and ssh clients another


class Program(Protocol):
    """What a place may ask of the program around it."""

    glyphs: Glyphs

    @property
    def mode(self) -> Mode:
        """Read-only or not, frozen or not."""

    def redraw(self) -> None:
        """Draw the open place again; only what changed is written."""

    def refusal(self, name: str, offer: Offer | None) -> str:
        """Why an action cannot be done now; empty when it can."""

    def key(self, key: str, character: str | None) -> None:
        """A key was pressed."""

    def arrived(self) -> None:
        """The place that was opened is ready."""

    def typed(self, text: str) -> None:
        """Text was pasted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an action would do here: its request, and its effect in a sentence."""

    target: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)
    expected_version: int | None = None  # the version of the target that is on the screen
    effect: str = ""
    unable: str = ""  # why this place cannot offer it just now
    form: str | None = None  # what is typed first, where something has to be typed
    hint: str = "percent; enter shows the effect"  # what to type


class Place(Screen[None]):
    """One place."""

    where: ClassVar[str] = ""
    hints: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Keys of this place alone, as (key, word)."""
    acts: ClassVar[tuple[str, ...]] = ()
    """The actions of this place, as help lists them."""
    twins: ClassVar[Mapping[str, str]] = {}
    """The commands of actions whose twin depends on the place."""
    filter_hint: ClassVar[str] = "part of any column; empty: all"
    filters_at_once: ClassVar[bool] = False
    """Whether it filters what it has while that is typed, without a read of the store."""

    ready = False  # its widgets are mounted

    def compose(self) -> ComposeResult:
        """The header on top, bar and keys at the foot, the body between."""
        yield HeaderRow(id="header")
        yield from self.body()
        yield Bar(id="bar")
        yield Lines(id="keys")
        yield Lines(id="small")

    def body(self) -> Iterable[Widget]:
        """The widgets of this place."""
        raise NotImplementedError

    def draw(self, current: snapshot.Snapshot) -> None:
        """Draw the body."""
        raise NotImplementedError

    def wanted(self) -> Query:
        """What has to be read for this place."""
        return Query(place=self.where)

    def offer(self, name: str, typed: str | None = None) -> Offer | None:
        """What an action would do here; None where it has no meaning."""
        del name, typed
        return None

    def path(self) -> str:
        """Where this is: pulse › requests."""
        steps, name = [self.where], keymap.PLACES[self.where].inside
        while name:
            steps.insert(0, name)
            name = keymap.PLACES[name].inside
        return " › ".join(steps)

    def moved(self, key: str) -> bool:
        """Move the cursor or the text; whether the key meant that here."""
        del key
        return False

    def open(self, what: str) -> None:
        """Show this from now on, where a place is about one of several."""

    def opened(self) -> tuple[str, str] | None:
        """What `enter` opens: a place and what is shown there."""
        return None

    def copied(self) -> str:
        """What `y` copies; empty for nothing."""
        return ""

    def compared(self) -> str:
        """Compare the others with the row under the cursor; what is to be said of that."""
        return "Nothing can be compared here."

    def back(self) -> bool:
        """Undo one step inside the place (a filter); False when there is none."""
        return False

    def filtered(self, text: str | None = None) -> str | None:
        """The filter, perhaps a new one; None where nothing can be filtered."""
        del text
        return None

    @property
    def program(self) -> Program:
        """The program around."""
        return cast("Program", self.app)

    def wide(self, id: str) -> tuple[int, int]:
        """The size of a widget of this place."""
        size = self.query_one(f"#{id}", Lines).size
        return size.width, size.height

    @property
    def small(self) -> bool:
        """Whether the terminal has no room for it: then nothing is shown, and no key acts."""
        return self.size.width < WIDTH or self.size.height < HEIGHT

    def show(
        self, current: snapshot.Snapshot, bar: Sequence[Line], header: snapshot.Header
    ) -> None:
        """Draw all of it, or say that there is no room; `header` is the newest, frozen or not.

        Nothing is drawn before the widgets are mounted, nor once the program closes: it removes
        them one after another while snapshots still arrive.
        """
        closing = not (self.app.is_running and self.is_attached)
        if closing or not self.ready or not self.size:
            return
        self.set_class(self.small, "small")
        self.query_one(HeaderRow).show_header(header, self.program.mode)
        if self.small:
            self.query_one("#small", Lines).show(too_small(self.size.width, self.size.height))
            return
        self.query_one(Bar).show_bar(bar)
        self.query_one("#keys", Lines).show([foot(self.where, self.hints, self.size.width)])
        self.draw(current)

    def on_mount(self) -> None:
        """From now on it can be drawn, and takes keys."""
        self.ready = True
        self.program.arrived()

    def on_lines_resized(self, event: Lines.Resized) -> None:
        """Draw for the new sizes."""
        event.stop()
        self.call_after_refresh(self.program.redraw)

    def on_key(self, event: events.Key) -> None:
        """Every key is the program's."""
        event.stop()
        event.prevent_default()
        self.program.key(event.key, event.character)

    def on_paste(self, event: events.Paste) -> None:
        """So is what is pasted."""
        event.stop()
        self.program.typed(event.text)


def too_small(width: int, height: int) -> list[Line]:
    """What is said where nothing else has room."""
    return [
        (),
        ((f" The screen needs {WIDTH}×{HEIGHT};", "bold"),),
        ((f" this terminal has {width}×{height}.", ""),),
        ((" It comes back when there is room.", "dim"),),
        ((" q: quit; no other key acts", "dim"),),
    ]


def foot(name: str, hints: Sequence[tuple[str, str]], width: int) -> Line:
    """The keys: this place's own, then the places, then those that work everywhere.

    Where there is no room for all, those that help and lead away stay: a colon lists all places.
    """
    places = [
        (where.key, where.name)
        for where in keymap.PLACES.values()
        if where.key and where.name not in {name, "help"}
    ]
    back = [] if name == "pulse" else [("escape", "back")]
    goto, freeze = [("colon", "places")], [("space", "freeze")]
    ends = [("question_mark", "help"), ("q", "quit")]
    room, kept = width - 1, set()
    for pair in (*ends, *goto, *back, *hints, *places, *freeze):
        taken = words.width(_key(pair)) + 2
        if taken <= room + 2:
            kept.add(pair)
            room -= taken
    shown: list[Line] = [
        ((keymap.sign(key), "key"), (f" {word}", "dim"))
        for key, word in (*hints, *places, *goto, *freeze, *back, *ends)
        if (key, word) in kept
    ]
    return ((" ", ""), *palette.join(shown, "  "))


def _key(pair: tuple[str, str]) -> str:
    return f"{keymap.sign(pair[0])} {pair[1]}"
