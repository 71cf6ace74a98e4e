"""Verbs of runbooks and their runs, which the runner carries out."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from storage.control_socket.verbs.verb import (
    Arguments,
    Danger,
    Line,
    NoArguments,
    Process,
    Verb,
    Why,
)
from storage.keys import Role

_StepName = Annotated[str, Meta(min_length=1, max_length=40)]


class Start(Arguments, frozen=True, kw_only=True):
    """What the runbook asks for before it begins; `content` is the hash of what was shown.

    `alert` is the number of the alert that it is started for: what that is about fills in inputs
    that are not given. `pace`: to stop before each action, or to walk through; None: as the
    runbook says.
    """

    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    content: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    alert: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    pace: Literal["step", "through"] | None = None


class Decide(Arguments, frozen=True, kw_only=True):
    """The step at which the person saw the target, a run, wait."""

    step: _StepName | None = None


class Confirm(Arguments, frozen=True, kw_only=True):
    """The step that was done by hand, and what was found."""

    step: _StepName | None = None
    note: Line = ""


class Note(Arguments, frozen=True, kw_only=True):
    """What a person writes into the timeline of the target, a run."""

    text: Annotated[str, Meta(min_length=1, max_length=2000)]


class HandOver(Arguments, frozen=True, kw_only=True):
    """The person who decides for the target, a run, from now on."""

    to: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}\Z")]


class Automate(Arguments, frozen=True, kw_only=True):
    """Whether the target, a runbook, starts by itself when its alert fires."""

    on: bool = True


def _verb(
    name: str, arguments: type[Arguments], sentence: str, command: str, why: Why = Why.OPTIONAL
) -> Verb:
    return Verb(
        name, arguments, Role.OPERATOR, Danger.REVERSIBLE, Process.RUNNER, sentence, command, why
    )


ROWS: Final[tuple[Verb, ...]] = (
    _verb(
        "runbooks.start", Start,
        "Start a runbook",
        "runbooks start NAME [INPUT=VALUE] [--alert N]",
        Why.ASKED,
    ),
    _verb(
        "runbooks.next", Decide,
        "Carry out the step at which a run waits",
        "runbooks next RUN",
        Why.ASKED,
    ),
    _verb(
        "runbooks.confirm", Confirm,
        "Confirm that a run's manual step was done",
        "runbooks confirm RUN [--note TEXT]",
    ),
    _verb(
        "runbooks.skip", Decide,
        "Skip the step at which a run waits",
        "runbooks skip RUN --reason WHY",
        Why.REQUIRED,
    ),
    _verb(
        "runbooks.retry", Decide,
        "Retry a run's failed step",
        "runbooks retry RUN",
        Why.ASKED,
    ),
    _verb(
        "runbooks.abort", NoArguments,
        "End a run; what it changed is kept",
        "runbooks abort RUN --reason WHY",
        Why.REQUIRED,
    ),
    _verb(
        "runbooks.note", Note,
        "Write a note into a run's timeline",
        "runbooks note RUN TEXT",
    ),
    _verb(
        "runbooks.take", NoArguments,
        "Take a run over",
        "runbooks take RUN",
    ),
    _verb(
        "runbooks.hand_over", HandOver,
        "Hand a run over to a colleague",
        "runbooks hand-over RUN PERSON",
    ),
    _verb(
        "runbooks.automate", Automate,
        "Let a runbook start by itself when its alert fires",
        "runbooks automate NAME [--off]",
        Why.ASKED,
    ),
    _verb(
        "runbooks.undo", NoArguments,
        "Undo the steps of a run",
        "runbooks undo RUN",
        Why.ASKED,
    ),
)  # fmt: skip
