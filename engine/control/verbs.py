"""Which function carries out which verb. One row for each verb that control claims.

Imported by `engine.control.intents`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from engine.control import keys, knobs, models, prompts, releases, services
from engine.control.decisions import Decision
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session

Controller = Callable[[Session, Intent, Any, int], Awaitable[Decision]]

AT_ONCE: Final[Mapping[str, Controller]] = {
    "prompts.add": prompts.add,
    "prompts.label": prompts.label,
    "releases.create": releases.create,
    "services.create": services.create,
    "services.split": services.split,
    "services.undo": services.undo,
    "keys.add": keys.add,
    "keys.revoke": keys.revoke,
    "knobs.set": knobs.set,
    "knobs.undo": knobs.undo,
}
"""Looked at, decided, done and ended in one transaction."""

AFTER_READING: Final = frozenset({"models.add"})
"""First reads a file for as long as that takes, then does the same."""


def read(wish: verbs.ModelsAdd) -> models.File:
    """What a verb of the second kind reads; blocks, so call it off the loop."""
    return models.read(Path(wish.path))
