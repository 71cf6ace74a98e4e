"""The first row of every place: who is here, whether the node lives, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Node(StrEnum):
    """Whether the node lives, as far as this terminal knows."""

    ASKING = "asking"  # no answer yet
    UP = "up"
    SILENT = "silent"  # it runs and does not answer; the gateway and the workers may
    DOWN = "down"
    ABSENT = "absent"  # there is no box in this home yet

    @property
    def runs(self) -> bool:
        """Whether there is a node, whether it answers or not."""
        return self in {Node.UP, Node.SILENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """The person at this terminal; `role` is empty until the control socket has said it."""

    name: str
    role: str = ""

    @property
    def acts(self) -> bool:
        """Whether this role may change anything."""
        return self.role in {"operator", "admin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that is known to be wrong: in a few words for a narrow row, and in a sentence.

    `unanswered`: because of it clients of some service get no answer at all.
    """

    brief: str
    sentence: str
    unanswered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first row of every place."""

    host: str
    person: Person
    node: Node
    live: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()
    """Services with their arms as (release, basis points)."""
    synthetic: float | None = None  # share of the requests in the window
    troubles: tuple[Trouble, ...] = ()  # the worst first
    incident: tuple[int, int] | None = None  # the oldest active one: its number, when it began
    as_of_us: int | None = None  # the newest measurement
    now_us: int = 0
    back_us: int = 0  # how far the clock is behind samples in the store
    past: tuple[str, ...] | None = None
    """Given where `now_us` is a past moment: in sentences, what is not known of it."""
    error: str = ""  # why nothing can be read, in a sentence
