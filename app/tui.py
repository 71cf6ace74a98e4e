"""The terminal screen: places, keys, the guard before changes, and the one poller behind it.

It paints before it reads: the libraries of the store are loaded in a thread after the first
frame. Changes go through the control socket by the table of actions; leaving never stops the node.
Imported by `app.commands.attach`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from rich.console import RenderableType
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from app import joined_keys, poller, snapshot, words
from app.dispatch import Dispatcher
from app.guard import Guard
from app.prompt_line import PromptLine
from app.screens import keymap, places
from app.screens.help import Help
from app.screens.place import Offer, Place
from app.snapshot import Query
from app.widgets import chart as charts
from app.widgets import spans
from app.widgets.header import Mode
from storage.home import clock
from storage.home.paths import Home

if TYPE_CHECKING:
    from app.actions import Action

THEME: Final = "ansi-dark"


class Tui(App[None]):
    """The program."""

    TITLE = "Paddock"
    CSS_PATH = "styles/paddock.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "quit", "Quit", priority=True, show=False),
        Binding("tab,shift+tab", "nothing", show=False, priority=True),
    ]

    def __init__(
        self,
        home: Home,
        *,
        chart: str | None = None,
        theme: str | None = None,
        now_us: Callable[[], int] = clock.now_us,
        every_s: float = poller.EVERY_S,
    ) -> None:
        # NO_COLOR over a theme that is not ANSI would turn ANSI colours black on black.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        joined_keys.install()
        wanted = theme or os.environ.get("TEXTUAL_THEME") or THEME
        known = wanted in self.available_themes
        self.theme = wanted if known else THEME
        self.home = home
        self.glyphs = charts.glyphs(chart)
        self.ascii_only = self.glyphs == "ascii"
        self.now_us = now_us
        unasked = snapshot.Person(name="")
        self.current = snapshot.Snapshot(
            header=snapshot.Header(
                host=os.uname().nodename, person=unasked, node=snapshot.Node.ASKING
            )
        )
        self.guard = Guard()
        self.prompt_line = PromptLine()
        if not known:
            self.prompt_line.say(
                f"There is no theme {words.cut(words.safe(wanted), 30)!r}; TEXTUAL_THEME may be "
                f"{', '.join(sorted(self.available_themes))}.",
                "warn",
            )
        self.dispatcher = Dispatcher(self)
        self.poller = poller.Poller(home, self._received, now_us=now_us, every_s=every_s)
        self.table: Mapping[str, Action] = {}
        self._keys: Mapping[str, tuple[str, ...]] = {
            key: (name,) for key, name in keymap.EARLY.items()
        }
        self.past_us: int | None = None  # the past moment that is shown
        self._frozen: snapshot.Snapshot | None = None
        self._freezing = False  # as soon as the open place has a snapshot of its own
        self._trail: list[str] = []
        self._before = "pulse"
        self._pressed: deque[tuple[str, str | None]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()

    def on_mount(self) -> None:
        """Show the pulse, and begin to read once it is painted."""
        for place in places.EVERY:
            self.install_screen(place(), place.where)
        self.get_screen("help", Help).places = places.BY_NAME
        self.push_screen("pulse")
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.keep(self.poller.run())
        self.keep(self._load())

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the screen; what it raises ends the screen."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        try:
            if not task.cancelled():
                task.result()
        except Exception as error:  # noqa: BLE001 whatever it is, it is shown once the screen ends
            self._handle_exception(error)

    async def _load(self) -> None:
        actions = await asyncio.to_thread(importlib.import_module, "app.actions")
        self.table = actions.TABLE
        self._keys = keymap.keys(self.table.values())
        self.get_screen("help", Help).table = tuple(self.table.values())
        self.redraw()

    async def on_unmount(self) -> None:
        """Stop reading."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What is shown

    @property
    def place(self) -> Place | None:
        """The place that is open."""
        screen = self.screen if self.screen_stack else None
        return screen if isinstance(screen, Place) else None

    @property
    def mode(self) -> Mode:
        """Read-only or not, frozen or not."""
        frozen = None if self._frozen is None else self._frozen.header.now_us
        return Mode(armed_us=self.guard.left_us(self.now_us()), frozen_us=frozen)

    def _received(self, current: snapshot.Snapshot) -> None:
        self.current = current
        if self._freezing:
            self._hold()
        if self.guard.left_us(self.now_us()) is not None and not current.header.node.runs:
            self.guard.disarm()
        self.redraw()
        if self.place is not None:  # what is under the cursor may be another row now
            self.poller.look_at(self._wanted(self.place))

    def redraw(self) -> None:
        """Draw the open place; only what changed is written."""
        place = self.place
        if place is not None:
            shown = self.current if self._frozen is None else self._frozen
            bar = self.prompt_line.rows(place.path(), place.size.width)
            place.show(shown, bar, self.current.header)
            if (asked := self.prompt_line.undrawn) and place.ready and not place.small:
                place.call_after_refresh(self.prompt_line.drawn, asked)

    def on_resize(self) -> None:
        """The terminal was resized: draw again once the layout is done."""
        self.call_after_refresh(self.redraw)

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        super()._display(screen, cast("RenderableType | None", spans.tight(renderable)))

    def _wanted(self, place: Place) -> Query:
        return replace(place.wanted(), at_us=self.past_us)

    def look_at(self, at_us: int | None) -> None:
        """Show a past moment, or now again; either way nothing can be changed before :rw."""
        self.past_us = at_us
        self._frozen, self._freezing = None, False
        self.guard.disarm()
        if (place := self.place) is not None:
            self.poller.look_at(self._wanted(place))

    # Going places

    def go(self, name: str, what: str = "") -> None:
        """Open a place; esc comes back here."""
        here = self.place
        if here is not None and here.where != name:
            self._trail = [step for step in self._trail if step != name][-8:]
            self._trail.append(here.where)
        self._open(name, what)

    def _open(self, name: str, what: str = "") -> None:
        here = self.place
        place = self.get_screen(name, Place)
        if name == "help" and here is not None and here is not place:
            what = here.where
        if what:
            place.open(what)
        if here is not None and here is not place:
            self._before = here.where
            self._frozen, self._freezing = None, False
            self.switch_screen(name)
        self.poller.look_at(self._wanted(place))
        self.call_after_refresh(self.redraw)

    def freeze(self) -> None:
        """Freeze the snapshot, or release it; the header is always current."""
        if self._frozen is not None or self._freezing:
            self._frozen, self._freezing = None, False
        else:
            self._freezing = True
            self._hold()

    def _hold(self) -> None:
        """Freeze what the open place shows; not the snapshot of the place before it."""
        place = self.place
        if place is not None and self.current.query == self._wanted(place):
            self._frozen, self._freezing = self.current, False

    def go_before(self) -> None:
        """Open the place before this one."""
        self.go(self._before)

    def back(self) -> None:
        """One step back; on the pulse there is none."""
        place = self.place
        if place is not None and place.back():
            self.poller.look_at(self._wanted(place))
        elif self._trail:
            before = self._trail.pop()
            self._open(before)
        elif place is not None and place.where != "pulse":
            self._open("pulse")

    # Keys

    def refusal(self, name: str, offer: Offer | None) -> str:
        """Why an action cannot be done now; empty when it can."""
        return self.dispatcher.refusal(name, offer)

    def action_nothing(self) -> None:
        """A key that Textual would use and that means nothing here."""

    def typed(self, text: str) -> None:
        """Something was pasted; it counts only where a line is being typed in sight."""
        if (place := self.place) is not None and not place.small:
            self.prompt_line.paste(text)
        self.redraw()

    def key(self, key: str, character: str | None) -> None:
        """A key was pressed; it waits until the place that is opening is ready."""
        self._pressed.append((key, character))
        self.arrived()

    def arrived(self) -> None:
        """The open place is ready: it gets the keys that waited."""
        while self._pressed and (place := self.place) is not None and place.ready:
            self._press(place, *self._pressed.popleft())

    def _press(self, place: Place, key: str, character: str | None) -> None:
        if place.small:  # what cannot be seen cannot be meant
            if "look.quit" in self._keys.get(key, ()):
                self.exit()
            return
        if self.prompt_line.busy:
            self.prompt_line.key(key, character)
        else:
            self.prompt_line.quiet()
            if not place.moved(key):
                self.dispatcher.press(self._keys.get(key, ()), place)
        self.redraw()
        if self.place is place:
            self.poller.look_at(self._wanted(place))


def run(
    home: Home, *, mouse: bool = False, chart: str | None = None, theme: str | None = None
) -> int:
    """Show the screen until the person quits; the node keeps running.

    SIGTERM ends it with the terminal restored.
    """

    async def main() -> int:
        app = Tui(home, chart=chart, theme=theme)
        leave = partial(app.exit, return_code=128 + signal.SIGTERM)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)
        await app.run_async(mouse=mouse)
        return app.return_code or 0

    return asyncio.run(main())


async def attach(home: Home) -> None:
    """The same inside a running loop; a cancellation restores the terminal first."""
    app = Tui(home)
    running = asyncio.create_task(app.run_async(mouse=False))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        app.exit()
        await running
        raise
