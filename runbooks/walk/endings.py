"""How a walk ends, and how a step of it fails.

Imported by `runbooks.walk` and `runbooks.driving`.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.runs import Waits


class Failed(Exception):
    """A step failed; the message says why."""


class Aborted(Exception):
    """A person ended the run while it was walked."""


class Stop(Exception):
    """The run waits for a person at a step from now on."""

    def __init__(self, waits: Waits, step: str, sentence: str) -> None:
        super().__init__(sentence)
        self.waits = waits
        self.step = step
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Ended:
    """The walk came to the end, or to a step that failed."""

    well: bool
    sentence: str
