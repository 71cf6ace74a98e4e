"""Probes of a prompt's label, as `terse:production`; a bare prompt means that label.

Imported by `runbooks.probes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runbooks.looking.probe import Probe
from runbooks.values import Value
from storage import prompt_labels, prompts, splits
from storage.store import Session


async def label_version(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The version that the label points at."""
    return (await prompt_labels.find(s, *_named(of))).number


async def label_roll_back_move(s: Session, of: str, _window_s: int, _second: int) -> Value:
    """The move of the label to go back to, by its id; of one that is back already, the same."""
    return splits.roll_back_target(await prompt_labels.history(s, *_named(of), 2))


async def label_roll_back_version(s: Session, of: str, window_s: int, second: int) -> Value:
    """The version that going back would make the label point at."""
    move = await label_roll_back_move(s, of, window_s, second)
    if not isinstance(move, int):
        return None
    return (await prompt_labels.find_move(s, *_named(of), move)).number


def _named(of: str) -> tuple[str, str]:
    prompt, _, label = of.partition(":")
    return prompt, label or prompts.PRODUCTION


PROBES: Final[Mapping[str, Probe]] = {
    "label_version": label_version,
    "label_roll_back_move": label_roll_back_move,
    "label_roll_back_version": label_roll_back_version,
}
