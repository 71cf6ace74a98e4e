"""The one table of what people can do: screens, keys and the command line all read it.

An action knows its name, its place (noun, verb), the letter that calls it on a screen, how
dangerous it is, the sentence that help and confirms show, its twin on the command line, and the
handler that carries it out. It never draws and never asks: who calls `perform` has confirmed.
Imported by the commands, the screens and their tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.home import Home
    from storage.store import Store


class Danger(StrEnum):
    """How much care an action asks for; the door guards it again, below every screen."""

    LOOK = "look"
    REVERSIBLE = "reversible"  # one confirm that names target and effect
    HARD = "hard"  # type the target's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asks for, with the version of the world that they saw."""

    target: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""
    seen: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How it ended, in a sentence that can be shown as it is."""

    ok: bool
    sentence: str
    intent_id: int | None = None
    state: str = ""  # the intent's state; "accepted" when it had not ended in time


Handler = Callable[["Home", "Store", "Wanted"], Awaitable[Done]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One row of the table."""

    name: str  # "services.split": for what travels as an intent, the verb's own name
    noun: str
    verb: str
    key: str  # one letter on the screen, "" for none; one letter means one thing everywhere
    danger: Danger
    sentence: str
    twin: str  # "services split NAME r1=90 r2=10", without the leading `paddock`
    handler: Handler | None = None  # None: a screen or a command draws it by itself

    @property
    def writes(self) -> bool:
        """Whether it changes the box, so that read-only people and screens see why they may not."""
        return self.danger is not Danger.LOOK
