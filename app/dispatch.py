"""What keys do: going, typing, freezing, copying, and the guarded way to a change.

A change is offered by the place, refused here with its reason or confirmed with its effect, and
carried out by the table of actions; its outcome is said. Imported by `app.tui`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from app import errors as app_errors
from app import moments, words
from app.screens import keymap, places
from app.screens.place import Offer, Place
from storage import errors

_HARD = "hard"  # storage.control_socket.verbs.Danger.HARD, which is loaded after the first paint

if TYPE_CHECKING:
    from app.tui import Tui


class Dispatcher:
    """The dispatcher of one screen."""

    def __init__(self, app: Tui) -> None:
        self._app = app
        self._simple: Mapping[str, Callable[[Place], None]] = {
            "look.back": lambda _: app.back(),
            "look.quit": lambda _: app.exit(),
            "look.previous": lambda _: app.go_before(),
            "look.freeze": lambda _: app.freeze(),
            "look.open": self._open,
            "look.goto": self._goto,
            "look.filter": self._filter,
            "look.copy": self._copy,
            "look.compare": self._compare,
            "look.arm": lambda _: self._arm(),
            "look.disarm": lambda _: self._disarm(),
            "look.now": lambda _: self._now(),
        }

    def press(self, names: Sequence[str], place: Place) -> None:
        """Do what a key calls for: of several actions the one that the place offers."""
        offered = [name for name in names if len(names) == 1 or place.offer(name) is not None]
        if offered:
            self.do(offered[0], place)
        elif names:
            self._app.prompt_line.say(" ".join(map(self._elsewhere, names)), "dim")

    def do(self, name: str, place: Place) -> None:
        """Do what a key or a typed command calls for."""
        where = name.removeprefix("look.")
        if where in keymap.PLACES:
            self._app.go(where)
        elif name in self._simple:
            self._simple[name](place)
        else:
            self._change(name, place)

    def _open(self, place: Place) -> None:
        if (found := place.opened()) is not None:
            self._app.go(*found)

    def _goto(self, place: Place) -> None:
        self._app.prompt_line.ask_line(
            ":", "", "enter: go there", lambda typed: self._went(typed, place), keymap.choices
        )

    def _went(self, typed: str, place: Place) -> None:
        if (moment := keymap.moment(typed)) is not None:
            self._at(moment)
            return
        word = keymap.meant(typed)
        if word is not None:
            self.do(keymap.COMMANDS.get(word, f"look.{word}"), place)
        elif typed.strip():
            known = ", ".join(name for name, where in keymap.PLACES.items() if where.key)
            self._app.prompt_line.say(
                f"There is no place “{typed.strip()}”; known: {known}.", "warn"
            )

    def _filter(self, place: Place) -> None:
        if (text := place.filtered()) is None:
            self._app.prompt_line.say("Nothing can be filtered here.", "dim")
            return

        def then(typed: str) -> None:
            place.filtered(typed.strip())

        self._app.prompt_line.ask_line(
            "/", text, place.filter_hint, then, changed=then if place.filters_at_once else None
        )

    def _copy(self, place: Place) -> None:
        text = place.copied()
        if text:
            self._app.copy_to_clipboard(text)
            what = text if "\n" not in text else f"{len(text.splitlines())} lines"
            self._app.prompt_line.say(f"Copied {what} (where the terminal takes OSC 52).")
        else:
            self._app.prompt_line.say("There is nothing to copy here.", "dim")

    def _compare(self, place: Place) -> None:
        self._app.prompt_line.say(place.compared())

    def _arm(self) -> None:
        app = self._app
        if why := app.guard.arm(app.current.header, app.now_us()):
            app.prompt_line.say(f"Still read-only: {why}.", "warn")
        else:
            app.prompt_line.say(
                "Changes are allowed from this screen for 15 minutes; :ro ends that."
            )

    def _at(self, typed: str) -> None:
        """Show a past moment, read-only."""
        app = self._app
        try:
            at_us = moments.parse(typed, app.now_us())
        except app_errors.BadWord as error:
            app.prompt_line.say(f"Still here: {error}", "warn")
            return
        app.look_at(at_us)
        app.prompt_line.say(f"The box as it was at {words.clock(at_us)}; :now returns.")

    def _now(self) -> None:
        app = self._app
        if app.past_us is None:
            app.prompt_line.say("This is now.", "dim")
        else:
            app.look_at(None)
            app.prompt_line.say("Back to now; changes still need :rw.")

    def _disarm(self) -> None:
        self._app.guard.disarm()
        self._app.prompt_line.say("Read-only again.")

    # Changes

    def refusal(self, name: str, offer: Offer | None) -> str:
        """Why an action cannot be done now; empty when it can."""
        if offer is None:
            return "it has no meaning in this place"
        app = self._app
        loaded = name in app.table
        why = app.guard.refusal(app.current.header, app.now_us(), loaded=loaded)
        return why or offer.unable

    def _change(self, name: str, place: Place, typed: str | None = None) -> None:
        app, offer = self._app, place.offer(name, typed)
        if offer is None:
            app.prompt_line.say(self._elsewhere(name), "dim")
        elif typed is not None and offer.unable:  # let it be corrected
            self._form(name, place, typed, f"▲ {offer.unable}")
        elif why := self.refusal(name, offer):
            app.prompt_line.say(f"Not done: {why}.", "warn")
        elif offer.form is not None:
            self._form(name, place, offer.form, offer.hint)
        else:
            self._confirm(name, offer)

    def _elsewhere(self, name: str) -> str:
        """In which place an action is offered."""
        offering = [keymap.PLACES[place.where] for place in places.EVERY if name in place.acts]
        where = next(place for place in offering if place.key)
        return f"{self._app.table[name].sentence}: in the place {where.name} ({where.key})."

    def _confirm(self, name: str, offer: Offer) -> None:
        """Ask as the table of verbs demands: for the name, for a reason, or for enter alone."""
        line, action = self._app.prompt_line, self._app.table[name]
        if action.danger == _HARD:
            label, hint = f"type {offer.target} ", "hard to reverse; enter: do it"
            line.ask_why(offer.effect, label, hint, lambda typed: self._named(name, offer, typed))
        elif action.asks_reason:
            hint = "needed; enter: do it" if action.needs_reason else "may be empty; enter: do it"
            line.ask_why(offer.effect, "reason ", hint, lambda why: self._why(name, offer, why))
        else:
            line.ask(offer.effect, lambda: self._agreed(name, offer))

    def _why(self, name: str, offer: Offer, why: str) -> None:
        if self._app.table[name].needs_reason and not why.strip():
            self._app.prompt_line.say("Not done: it needs a reason.", "warn")
        else:
            self._agreed(name, offer, why)

    def _named(self, name: str, offer: Offer, typed: str) -> None:
        if typed.strip() == offer.target:
            self._agreed(name, offer, confirm=offer.target)
        else:
            self._app.prompt_line.say(f"Not done: that is not {offer.target}.", "warn")

    def _agreed(self, name: str, offer: Offer, reason: str = "", confirm: str = "") -> None:
        """Check again what was true when the question was asked, which may be long ago."""
        if why := self.refusal(name, offer):
            self._app.prompt_line.say(f"Not done: {why}.", "warn")
        else:
            self._app.keep(self._perform(name, offer, reason.strip(), confirm))

    def _form(self, name: str, place: Place, text: str, hint: str) -> None:
        label = f"{self._app.table[name].verb} "

        def then(typed: str) -> None:
            self._change(name, place, typed)

        self._app.prompt_line.ask_line(label, text, hint, then)

    async def _perform(self, name: str, offer: Offer, reason: str, confirm: str) -> None:
        app, here = self._app, self._app.place
        actions = importlib.import_module("app.actions")
        wanted = actions.Wanted(
            target=offer.target,
            arguments=offer.arguments,
            reason=reason,
            expected_version=offer.expected_version,
            confirm=confirm,
        )
        app.prompt_line.say(f"{offer.effect} …", "dim")
        app.redraw()
        try:
            store = app.poller.opened()
            done = await actions.perform(app.home, store, app.table[name], wanted)
        except errors.StorageError as error:
            app.prompt_line.say(f"▲ not done: {error}", "bad")
        else:
            sign, tone = ("", "good") if done.ok else ("▲ ", "warn" if done.waits else "bad")
            app.prompt_line.say(f"{sign}{done.sentence}", tone)
            opened = await actions.opens(store, app.table[name], done)
            if opened is not None and app.place is here:
                app.go(*opened)
        app.poller.poke()
        app.redraw()
