"""Verbs of knobs: set and undone."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.control_socket.verbs.verb import Arguments, Danger, Process, Verb, Why
from storage.keys import Role


class Set(Arguments, frozen=True, kw_only=True):
    """A knob of the target deployment and its value."""

    name: Annotated[str, Meta(max_length=40)]
    value: Annotated[int, Meta(ge=0, le=2**53)]


class Undo(Arguments, frozen=True, kw_only=True):
    """A knob of the target deployment, and the setting of it to undo: by its id or its intent."""

    name: Annotated[str, Meta(max_length=40)]
    setting: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    intent: Annotated[int, Meta(ge=1, le=2**53)] | None = None

    def __post_init__(self) -> None:
        """Refuse an undo that does not name its target: it would toggle."""
        if (self.setting is None) == (self.intent is None):
            raise ValueError("name the setting or the intent to undo - at `$.setting`")


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "knobs.set", Set, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Set a deployment's knob",
        "knobs set WORKER KNOB=VALUE",
        Why.ASKED,
    ),
    Verb(
        "knobs.undo", Undo, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Undo the last setting of a knob",
        "knobs undo WORKER KNOB",
        Why.ASKED,
    ),
)  # fmt: skip
