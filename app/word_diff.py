"""The difference of two prompt versions by words: of messages, variables and response schema.

Lines are compared first, then the words of lines that changed; a block of changed lines that is
too long for that is shown as removed and added whole. Pure; text is as it was written, so who
prints it makes it safe. Imported by `app.commands.prompts` and the place.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from storage.prompts import PromptVersion

_WORD: Final = re.compile(r"\w+|\s|[^\w\s]")
_WORDS: Final = 4000
"""Words of a changed block, on either side, up to which they are compared one by one."""
_LINES: Final = 4000
"""Lines of a text up to which unchanged lines are looked for anywhere in the other one."""
_AROUND: Final = 2
"""Unchanged lines shown before and after a change."""


class Change(StrEnum):
    """What became of a piece of text."""

    SAME = "same"
    REMOVED = "removed"
    ADDED = "added"
    SKIPPED = "skipped"  # unchanged lines that are not shown; its text says how many


class Piece(msgspec.Struct, frozen=True):
    """Some text and what became of it."""

    change: Change
    text: str


class Section(msgspec.Struct, frozen=True):
    """One part of a version that differs, in order: joined, the pieces are both texts."""

    title: str
    pieces: tuple[Piece, ...]


def versions(before: PromptVersion, after: PromptVersion) -> tuple[Section, ...]:
    """The parts in which two versions differ; none where their content is the same."""
    found = []
    for n, (was, now) in enumerate(itertools.zip_longest(before.messages, after.messages), 1):
        roles = [each.role for each in (was, now) if each is not None]
        title = f"message {n} ({' → '.join(dict.fromkeys(roles))})"
        old, new = ("" if each is None else each.template for each in (was, now))
        if was != now:
            found.append(Section(title, words(old, new)))
    for title, of in (("variables", _variables), ("response schema", _schema)):
        if of(before) != of(after):
            found.append(Section(title, words(of(before), of(after))))
    return tuple(found)


def words(before: str, after: str) -> tuple[Piece, ...]:
    """The pieces of two texts; all but the added ones are the first, but the removed the second."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    pieces: list[Piece] = []
    for change, removed, added in _blocks(old, new, _LINES):
        was, now = "".join(removed), "".join(added)
        if change == "equal":
            pieces.append(Piece(Change.SAME, was))
            continue
        for each, gone, come in _blocks(_WORD.findall(was), _WORD.findall(now), _WORDS):
            if each == "equal":
                pieces.append(Piece(Change.SAME, "".join(gone)))
                continue
            pieces.append(Piece(Change.REMOVED, "".join(gone)))
            pieces.append(Piece(Change.ADDED, "".join(come)))
    return tuple(_joined(piece for piece in pieces if piece.text))


def _blocks(
    old: Sequence[str], new: Sequence[str], most: int
) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """(equal or another word, part of the old, part of the new); the ends are compared first.

    What is frequent, such as spaces and empty lines, is no anchor; that keeps difflib fast.
    """
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False))
    head = sum(1 for _ in same)
    rest = zip(reversed(old[head:]), reversed(new[head:]), strict=False)
    tail = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], rest))
    yield "equal", old[:head], new[:head]
    was, now = old[head : len(old) - tail], new[head : len(new) - tail]
    if max(len(was), len(now)) > most:
        yield "replace", was, now
    else:
        matcher = difflib.SequenceMatcher(None, was, now)
        for change, a, b, c, d in matcher.get_opcodes():
            yield change, was[a:b], now[c:d]
    yield "equal", old[len(old) - tail :], new[len(new) - tail :]


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    for change, group in itertools.groupby(pieces, key=lambda piece: piece.change):
        yield Piece(change, "".join(piece.text for piece in group))


def lines(section: Section) -> list[tuple[Piece, ...]]:
    """A section as rows of pieces without line ends; long unchanged parts are skipped."""
    rows: list[list[Piece]] = [[]]
    for piece in section.pieces:
        for n, text in enumerate(piece.text.split("\n")):
            if n:
                rows.append([])
            if text:
                rows[-1].append(Piece(piece.change, text))
    if not rows[-1]:
        del rows[-1]  # the end of the last line
    changed = [any(piece.change is not Change.SAME for piece in row) for row in rows]
    near = [any(changed[max(0, n - _AROUND) : n + _AROUND + 1]) for n in range(len(rows))]
    shown: list[tuple[Piece, ...]] = []
    for keep, group in itertools.groupby(zip(near, rows, strict=True), key=lambda pair: pair[0]):
        block = [tuple(row) for _, row in group]
        if keep or len(block) == 1:
            shown += block
        else:
            shown.append((Piece(Change.SKIPPED, f"… {len(block)} unchanged lines"),))
    return shown


def marked(row: Sequence[Piece]) -> str:
    """A row for where there is no colour, as `git diff --word-diff` marks it."""
    marks = {Change.REMOVED: ("[-", "-]"), Change.ADDED: ("{+", "+}")}
    return "".join(
        piece.text.join(marks[piece.change]) if piece.change in marks else piece.text
        for piece in row
    )


def _variables(version: PromptVersion) -> str:
    return "".join(
        f"{each.name}: {each.type}"
        + (", required" if each.required else "")
        + ("" if each.default is None else f", default {each.default!r}")
        + "\n"
        for each in version.variables
    )


def _schema(version: PromptVersion) -> str:
    if version.response_schema is None:
        return ""
    raw = msgspec.json.encode(version.response_schema, order="sorted")
    return msgspec.json.format(raw, indent=2).decode()
