"""The command line's mouth and ears: what is printed, asked and returned as exit codes.

Nothing that came from outside reaches the terminal raw: lines go through `words.safe`, JSON is
ASCII. It never touches the store. Imported by `app.cli` and `app.commands`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import msgspec

from app import errors, words

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's coroutine to its end.

    Raises:
        errors.BadWord: what was typed is not text, and so nothing can be called so.
    """
    try:
        return asyncio.run(work)
    except UnicodeEncodeError as error:
        raise errors.BadWord(f"{str(error.object)[:80]!r} is not UTF-8; type it anew.") from error


def say(text: str = "") -> None:
    """One or more lines on standard output."""
    sys.stdout.write(words.safe(text, lines=True) + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A sentence on standard error."""
    sys.stderr.write(words.safe(text) + "\n")
    sys.stderr.flush()


def show(value: object, lines: Iterable[str], *, as_json: bool) -> None:
    """The value as JSON, or its lines: the two faces of everything that is shown."""
    if as_json:
        say(json.dumps(msgspec.to_builtins(value), indent=2))
        return
    for line in lines:
        say(line)


def compact(value: object) -> str:
    """The value as one line of JSON, for what goes on and on."""
    return json.dumps(msgspec.to_builtins(value))


def interactive() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str, *, default: bool) -> bool:
    """A yes or no from the person; the default for an empty line, no at the end of input."""
    sys.stdout.write(words.safe(question) + (" [Y/n] " if default else " [y/N] "))
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        return False
    answer = line.strip().lower()
    return default if not answer else answer in {"y", "yes"}


def confirm(effect: str, *, yes: bool, name: str = "") -> None:
    """Show what would change and go on only if the person agrees; scripts have agreed already.

    With a `name`, agreeing is typing it: for what is hard to reverse.
    """
    if yes or not interactive():
        return
    say(effect)
    if name:
        sys.stdout.write(words.safe(f"Type {name} to do it: "))
        sys.stdout.flush()
        agreed = sys.stdin.readline().strip() == name
    else:
        agreed = ask("Do it?", default=False)
    if not agreed:
        raise errors.Stopped("Nothing was changed.")
