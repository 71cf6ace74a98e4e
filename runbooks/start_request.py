"""The runbook that an intent asks to start, with its inputs; or why it cannot be started.

Runs nothing. Imported by `runbooks.runner` and, for its refusals, by `app`.
"""

from __future__ import annotations

from collections.abc import Mapping

from runbooks import steps, values
from runbooks.probes import PROBES
from runbooks.steps import Input, InputType, Runbook
from storage import deployments, errors, prompts, releases, services
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session


class Refused(Exception):
    """The run cannot be started or continued; the message says why."""


def named(books: Mapping[str, Runbook | str], name: str) -> Runbook:
    """The runbook of this name.

    Raises:
        Refused: there is none, or its file cannot be used.
    """
    book = books.get(name)
    if book is None:
        known = ", ".join(sorted(books)) or "none"
        raise Refused(f"There is no runbook {name}; known: {known}.")
    if isinstance(book, str):
        raise Refused(f"{name} cannot be used: {book}")
    return book


def chosen(
    books: Mapping[str, Runbook | str], intent: Intent, about: Mapping[str, str]
) -> tuple[Runbook, dict[str, str]]:
    """The runbook of an intent, which must be the one that the person saw, and what it was given.

    `about` is what its alert is about, for inputs that were not given.

    Raises:
        Refused: with a sentence for the person.
    """
    book = named(books, intent.target)
    asked = verbs.parse(intent.verb, intent.arguments)
    if asked.content not in {None, steps.content(book)}:
        raise Refused(f"{book.name} changed since you looked; look again and start it.")
    filled = {name: value for name, value in about.items() if name in book.inputs}
    return book, inputs(book, {**filled, **asked.inputs})


def inputs(book: Runbook, given: Mapping[str, object]) -> dict[str, str]:
    """The inputs as they were given or by default; those that a probe fills in may be missing.

    Raises:
        Refused: one is unknown, missing, or no number where it has to be.
    """
    if strange := sorted(set(given) - set(book.inputs)):
        raise Refused(f"{book.name} has no input {strange[0]}; {_asked(book)}.")
    found = {}
    for name, asked in book.inputs.items():
        value = given.get(name, asked.default)
        if value is not None:
            found[name] = _checked(book, name, asked, str(value))
        elif asked.probe is None:
            raise Refused(
                f"{book.name} needs the input {name}; add {name}=VALUE ({asked.sentence})."
            )
    return found


async def complete(
    s: Session, book: Runbook, given: Mapping[str, str], second: int
) -> dict[str, str]:
    """All inputs: those that were not given come from their probes; names are looked up.

    Raises:
        Refused: a probe found nothing, or there is no such service, deployment, release, prompt.
    """
    found: dict[str, str] = {}
    for name, asked in book.inputs.items():
        if name in given:
            found[name] = given[name]
        elif asked.probe is not None:
            try:
                value = await PROBES[asked.probe](s, values.filled(asked.of, found), 300, second)
            except errors.StorageError as error:
                raise Refused(f"{book.name}, input {name}: {error}") from error
            if value is None:
                raise Refused(
                    f"{book.name} needs the input {name}, which {asked.probe} does not know now; "
                    f"add {name}=VALUE ({asked.sentence})."
                )
            found[name] = values.plain(value)
        try:
            await _known(s, asked.type, found[name])
        except errors.StorageError as error:
            raise Refused(f"{book.name}, input {name}: {error}") from error
    return found


def _checked(book: Runbook, name: str, asked: Input, value: str) -> str:
    kinds = {InputType.INTEGER: (int, "a whole number"), InputType.NUMBER: (float, "a number")}
    if asked.type in kinds:
        made, what = kinds[asked.type]
        try:
            made(value)
        except ValueError as error:
            raise Refused(f"{book.name}: {name} is {what}, not {value!r}.") from error
    return value


async def _known(s: Session, kind: InputType, name: str) -> None:
    match kind:
        case InputType.SERVICE:
            await services.find(s, name)
        case InputType.DEPLOYMENT:
            await deployments.find(s, name)
        case InputType.RELEASE:
            await releases.find(s, name)
        case InputType.PROMPT:
            await prompts.labels(s, name)
        case _:
            return


def _asked(book: Runbook) -> str:
    return "its inputs are: " + (", ".join(sorted(book.inputs)) or "nothing")
