"""How a template fails.

    TemplateFault      it could not be compiled or rendered
      Exceeded         it ran too long or made too much
      Raised           it refused what it was given, by `raise_exception`
      Crowded          the texts leave no character to hide a control token behind
      TooLong          what it renders cannot fit the model's context
      Unencodable      what it is given, or what it renders, is no text that can be sent

Raised by the sandbox in a renderer process, and again by the pool. Imports nothing of Paddock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


class TemplateFault(Exception):
    """The template failed.

    `line` is where, 0 where that is unknown; `place` is the number of the template among those of
    its prompt, from 1. `quarantined`: it is not tried again until this process ends.
    """

    def __init__(
        self, message: str, line: int = 0, *, place: int = 0, quarantined: bool = False
    ) -> None:
        super().__init__(message)
        self.line = line
        self.place = place
        self.quarantined = quarantined


class Exceeded(TemplateFault):
    """It exceeded its time or size: because of the template, or of its input."""


class Raised(TemplateFault):
    """The template itself refused its input, by `raise_exception`."""


class Crowded(TemplateFault):
    """The texts hold every private-use character, so none is free to hide a spelling."""


class TooLong(TemplateFault):
    """What it renders has more tokens than the context holds."""


class Unencodable(TemplateFault):
    """It holds half of a surrogate pair, a number beyond 64 bits, or is nested too deeply."""


KINDS: Final[Mapping[str, type[TemplateFault]]] = {
    each.__name__: each for each in (TemplateFault, Exceeded, Raised, Crowded, TooLong)
}
"""The faults of a renderer process, by name."""
