"""Which key calls what, and which places there are.

The table of actions decides; it imports the store's libraries, which take longer to load than the
first paint may. So the keys that only look are repeated here, and a test compares them with the
table. Imported by `app.tui` and the places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.actions import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A place: its name and letter, the place it is inside of, a sentence, the twin that prints."""

    name: str
    key: str = ""  # a place without one is opened from the one it is inside of
    inside: str = "pulse"
    sentence: str = ""
    command: str = ""


PLACES: Final[Mapping[str, Where]] = {
    where.name: where
    for where in (
        Where(
            name="pulse", key="o", inside="",
            sentence="The box at a glance", command="status",
        ),
        Where(
            name="problems", key="exclamation_mark",
            sentence="All that is known to be wrong, in full", command="status",
        ),
        Where(
            name="traffic", key="t",
            sentence="Services and their arms, set beside actual", command="services list",
        ),
        Where(
            name="rollouts", key="r",
            sentence="Rollouts: phases, trees, what they wait for", command="rollouts list",
        ),
        Where(name="rollout", inside="rollouts"),
        Where(
            name="releases", key="v",
            sentence="Releases: where they are live, differences", command="releases list",
        ),
        Where(
            name="requests", key="l",
            sentence="The last requests, newest first", command="requests tail [--follow]",
        ),
        Where(name="request", inside="requests"),
        Where(
            name="incidents", key="i",
            sentence="Incidents: timeline, impact, what changed before", command="incidents list",
        ),
        Where(name="incident", inside="incidents"),
        Where(
            name="prompts", key="p",
            sentence="Prompt versions: labels, uses, differences", command="prompts list",
        ),
        Where(name="prompt", inside="prompts"),
        Where(
            name="models", key="m",
            sentence="Model versions: aliases, lineage, what is loaded", command="models tree",
        ),
        Where(
            name="ab-tests", key="b",
            sentence="A/B tests: arms, effects, what is still needed", command="ab-tests list",
        ),
        Where(
            name="replays", key="w",
            sentence="Replays: recorded requests asked again, and what differs",
            command="releases replays list",
        ),
        Where(name="replay", inside="replays"),
        Where(
            name="jobs", key="j",
            sentence="Downloads and other long work, newest first", command="jobs list",
        ),
        Where(name="job", inside="jobs"),
        Where(
            name="runbooks", key="k",
            sentence="Runbooks: start one, walk a run, see who has it",
            command="runbooks list",
        ),
        Where(name="run", inside="runbooks"),
        Where(
            name="alerts", key="a",
            sentence="Alerts, silences, receivers, alert rules", command="alerts list",
        ),
        Where(
            name="cost", key="dollar_sign",
            sentence="What today cost, against the budgets", command="cost",
        ),
        Where(
            name="gpu", key="g",
            sentence="GPUs: clocks, what slows them, errors, processes",
            command="samples tail --kind gpu",
        ),
        Where(
            name="ledger", key="e",
            sentence="Every change: who made it, when and why", command="ledger tail",
        ),
        Where(
            name="help", key="question_mark",
            sentence="The keys of this place", command="--help",
        ),
    )
}  # fmt: skip
"""In the order in which they are listed."""

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

# What a person can type after a colon besides the names and letters of places.
COMMANDS: Final[Mapping[str, str]] = {
    "rw": "look.arm",
    "ro": "look.disarm",
    "now": "look.now",
    "q": "look.quit",
    "quit": "look.quit",
}

_SAID: Final = {
    "rw": "allow changes",
    "ro": "read-only",
    "at 03:12": "look at the past",
    "now": "back from it",
    "q": "quit",
}
_AT: Final = re.compile(r"\s*at(\s+(?P<moment>.*))?\s*", re.IGNORECASE)

_SIGNS: Final = {
    "exclamation_mark": "!",
    "question_mark": "?",
    "dollar_sign": "$",
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
    """The place or command that a word after the colon names: also a letter, or a beginning."""
    word = typed.strip().lower()
    lettered = {sign(where.key): where.name for where in PLACES.values() if where.key}
    known = [*lettered.values(), *COMMANDS]
    if word in known:
        return word
    if word in lettered:
        return lettered[word]
    close = [name for name in known if word and name.startswith(word)]
    return close[0] if len({COMMANDS.get(name, name) for name in close}) == 1 else None


def moment(typed: str) -> str | None:
    """What follows `at` after the colon, perhaps nothing; None where something else was typed."""
    found = _AT.fullmatch(typed)
    return None if found is None else (found["moment"] or "").strip()


def choices(typed: str = "") -> list[tuple[str, str]]:
    """What can be typed after a colon and begins so: letters of places, and commands, in words."""
    word = typed.strip().lower()
    places = [(sign(where.key), where.name) for where in PLACES.values() if where.key]
    found = [each for each in places if word == each[0] or each[1].startswith(word)]
    return found + [each for each in _SAID.items() if each[0].startswith(word)]
