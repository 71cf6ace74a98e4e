"""Which key calls what, and which places there are.

The table of actions decides; it imports the store's libraries, which take longer to load than the
first paint may. So the keys that only look are repeated here, and a test compares them with the
table. Imported by `app.tui` and the places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.actions import Action


@dataclass(frozen=True, slots=True)
class Where:
    """A place: its name, its letter, and the place it is inside of."""

    name: str
    key: str
    inside: str = ""


PLACES: Final[Mapping[str, Where]] = {
    where.name: where
    for where in (
        Where("pulse", "o"),
        Where("traffic", "t", "pulse"),
        Where("rollouts", "r", "pulse"),
        Where("rollout", "", "rollouts"),
        Where("requests", "l", "pulse"),
        Where("request", "", "requests"),
        Where("jobs", "j", "pulse"),
        Where("job", "", "jobs"),
        Where("models", "m", "pulse"),
        Where("ab-tests", "b", "pulse"),
        Where("prompts", "p", "pulse"),
        Where("prompt", "", "prompts"),
        Where("releases", "v", "pulse"),
        Where("help", "question_mark", "pulse"),
    )
}

EARLY: Final[Mapping[str, str]] = {
    **{where.key: f"look.{where.name}" for where in PLACES.values() if where.key},
    "enter": "look.open",
    "escape": "look.back",
    "minus": "look.previous",
    "colon": "look.goto",
    "slash": "look.filter",
    "space": "look.freeze",
    "y": "look.copy",
    "d": "look.compare",
    "q": "look.quit",
}

# What a person can type after a colon besides the names of places.
COMMANDS: Final[Mapping[str, str]] = {
    "rw": "look.arm",
    "ro": "look.disarm",
    "q": "look.quit",
    "quit": "look.quit",
}

_SIGNS: Final = {
    "question_mark": "?",
    "escape": "esc",
    "minus": "-",
    "colon": ":",
    "slash": "/",
}


def keys(table: Iterable[Action]) -> dict[str, tuple[str, ...]]:
    """Names of actions by their key; a letter means the same for several nouns."""
    found: dict[str, tuple[str, ...]] = {}
    for action in table:
        if action.key:
            found[action.key] = (*found.get(action.key, ()), action.name)
    return found


def sign(key: str) -> str:
    """A key as it is printed."""
    return _SIGNS.get(key, key)


def meant(typed: str) -> str | None:
    """The place or command that a word after the colon names, also by a unique beginning."""
    word = typed.strip().lower()
    known = [name for name, where in PLACES.items() if where.key] + list(COMMANDS)
    if word in known:
        return word
    close = [name for name in known if word and name.startswith(word)]
    return close[0] if len({COMMANDS.get(name, name) for name in close}) == 1 else None
