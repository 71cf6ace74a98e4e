"""The runbook that an intent asks to start, with its inputs; or why it cannot be started.

Reads nothing and runs nothing. Imported by `runbooks.runner`.
"""

from __future__ import annotations

from collections.abc import Mapping

from runbooks import steps
from runbooks.steps import Runbook
from storage.control_socket import verbs
from storage.intents import Intent


class Refused(Exception):
    """The run cannot be started; the message says why."""


def chosen(books: Mapping[str, Runbook | str], intent: Intent) -> tuple[Runbook, dict[str, str]]:
    """The runbook of an intent, which must be the one that the person saw, and its inputs.

    Raises:
        Refused: with a sentence for the person.
    """
    book = books.get(intent.target)
    if book is None:
        known = ", ".join(sorted(books)) or "none"
        raise Refused(f"There is no runbook {intent.target}; known: {known}.")
    if isinstance(book, str):
        raise Refused(book)
    asked = verbs.parse(intent.verb, intent.arguments)
    if asked.content not in {None, steps.content(book)}:
        raise Refused(f"{book.name} changed since you looked; look again and start it.")
    return book, _inputs(book, asked.inputs)


def _inputs(book: Runbook, given: Mapping[str, object]) -> dict[str, str]:
    if strange := sorted(set(given) - set(book.inputs)):
        raise Refused(f"{book.name} has no input {strange[0]}; {_asked(book)}.")
    inputs = {
        name: str(given.get(name, asked.default))
        for name, asked in book.inputs.items()
        if given.get(name, asked.default) is not None
    }
    if missing := sorted(set(book.inputs) - set(inputs)):
        raise Refused(
            f"{book.name} needs the input {missing[0]}; add {missing[0]}=VALUE "
            f"({book.inputs[missing[0]].sentence})."
        )
    return inputs


def _asked(book: Runbook) -> str:
    return "its inputs are: " + (", ".join(sorted(book.inputs)) or "nothing")
