"""Esc and a key that arrive together, as they do over a slow link, are two keys.

Textual takes them for alt and the key, and drops the alt of enter, space and punctuation: a
question that esc was to cancel would be agreed to. This overrides a private method of Textual,
which is pinned exactly; the terminal tests prove that it still works. Imported by `app.tui`.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver


class Parser(XTermParser):
    """Textual's parser of what a terminal sends, without alt."""

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        if alt:
            yield events.Key("escape", "\x1b")
        yield from super()._sequence_to_key_events(sequence)


def install() -> None:
    """Have the screens of this process read their terminal with it."""
    linux_driver.XTermParser = Parser  # type: ignore[attr-defined]
