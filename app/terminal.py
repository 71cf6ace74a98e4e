"""Printing, asking and confirming on the command line.

Nothing that came from outside reaches the terminal raw: lines go through `words.safe`, JSON is
ASCII. It never touches the store. Imported by `app.cli` and `app.commands`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import termios
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TextIO, TypeVar

import msgspec

from app import errors, words

T = TypeVar("T")

_SENTENCE: Final = 2000
_STYLES: Final = {"removed": "9;31", "added": "1;32", "skipped": "2"}
"""Styles by name, as the parameters of the escape that sets them."""


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
    """One or more lines on standard output.

    Raises:
        BrokenPipeError: the reader closed it. errors.AppError: nothing can be written there.
    """
    _print(words.safe(text, lines=True) + "\n")


def _print(text: str) -> None:
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is left in the buffer would be tried again, and complained of, at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        said = error.strerror or str(error)
        raise errors.AppError(f"Standard output takes nothing: {said}.") from error


def colours() -> bool:
    """Whether standard output is a terminal that may be written to in colour."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def say_coloured(parts: Iterable[tuple[str, str]]) -> None:
    """A line of (text, style); a style is one of `_STYLES` or empty. Each text is made safe.

    Raises:
        As `say`.
    """
    line = "".join(
        f"\x1b[{_STYLES[style]}m{words.safe(text, lines=True)}\x1b[0m"
        if style
        else words.safe(text, lines=True)
        for text, style in parts
    )
    _print(f"{line}\n")


def complain(text: str) -> None:
    """A sentence on standard error, at most 2000 characters."""
    said = words.safe(text)
    if len(said) > _SENTENCE:
        said = f"{said[:_SENTENCE]}…"
    with contextlib.suppress(OSError, errors.AppError):
        _write(sys.stderr, said + "\n")


def _write(stream: TextIO | None, text: str) -> None:
    """Characters that the terminal's encoding lacks are written as escapes."""
    if stream is None:
        raise errors.AppError("Standard output is closed.")
    try:
        stream.write(text)
    except UnicodeEncodeError:
        known = stream.encoding
        stream.write(text.encode(known, "backslashreplace").decode(known))
    stream.flush()


def show(value: object, lines: Iterable[str], *, as_json: bool) -> None:
    """The value as JSON, or its lines: the two faces of everything that is shown."""
    if as_json:
        say(json.dumps(msgspec.to_builtins(value), indent=2))
        return
    for line in lines:
        say(line)


def compact(value: object) -> str:
    """The value as one line of JSON, for output without an end."""
    return json.dumps(msgspec.to_builtins(value))


def width() -> int | None:
    """The cells of the terminal on standard output; None where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def interactive() -> bool:
    """Whether standard input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str, *, default: bool) -> bool:
    """A yes or no from the person; the default for an empty line, no at the end of input."""
    return _answer(_line(_prompt(question, default=default)), default=default)


async def ask_async(question: str, *, default: bool) -> bool:
    """The same inside a running loop, which keeps turning: a signal can end the wait."""
    _drop_typed_ahead()
    sys.stdout.write(_prompt(question, default=default))
    sys.stdout.flush()
    loop, typed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return _answer(sys.stdin.readline(), default=default)


def _prompt(question: str, *, default: bool) -> str:
    return words.safe(question) + (" [Y/n] " if default else " [y/N] ")


def _answer(line: str, *, default: bool) -> bool:
    if not line:
        return False
    answer = line.strip().lower()
    return default if not answer else answer in {"y", "yes"}


def ask_reason(given: str) -> str:
    """The reason that was given with the command, else what the person types, perhaps nothing."""
    if given or not interactive():
        return given
    return _line("Reason (may be empty): ").strip()


def _line(prompt: str) -> str:
    """A line from the person. Inside `asyncio.run` the first ^C would not end the wait."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _drop_typed_ahead()
        sys.stdout.write(prompt)
        sys.stdout.flush()
        return sys.stdin.readline()
    except KeyboardInterrupt:
        _write(sys.stderr, "\nNothing was changed.\n")
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _drop_typed_ahead() -> None:
    """Discard what was typed before a question could be read: it answers something else."""
    with contextlib.suppress(termios.error, OSError, ValueError):  # input is not a terminal
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def confirm(effect: str, *, yes: bool, name: str = "") -> None:
    """Show what would change and continue only if the person agrees; scripts agree by running it.

    With a `name`, agreeing is typing it: for what is hard to reverse.
    """
    if yes or not interactive():
        return
    say(effect)
    if name:
        agreed = _line(words.safe(f"Type {name} to do it: ")).strip() == name
    else:
        agreed = ask("Do it?", default=False)
    if not agreed:
        raise errors.Stopped("Nothing was changed.")
