"""Prompt versions: the list, and one in full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """One prompt version in the list, with the labels that point at it."""

    name: str  # terse@3
    labels: tuple[str, ...]
    tag: str
    author: str
    at_us: int
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLabel:
    """A label of a prompt, and what moving it to the version that is shown would do.

    `undo_to` is the move to go back to, None where there is none and `no_undo` says why.
    """

    label: str
    number: int  # of the version that it points at
    protected: bool
    effect: str
    caution: str
    undo_to: int | None
    undo_effect: str
    no_undo: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A part in which two versions differ: rows of (same, removed, added or skipped; text)."""

    title: str
    rows: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt version in full; `against` is what it is compared with, empty for nothing."""

    name: str
    prompt: str
    number: int
    facts: tuple[tuple[str, str], ...]
    quarantined: tuple[str, ...]
    labels: tuple[PromptLabel, ...]  # of the prompt
    against: str
    differences: tuple[Difference, ...]
    text: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Prompt versions by name, newest first within each; `chosen` is the one under the cursor."""

    rows: tuple[PromptRow, ...]
    filter: str
    more: bool
    chosen: Prompt | None
