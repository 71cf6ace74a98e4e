"""Verbs of rollouts: as `kubectl argo rollouts` has them, and the plan before."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage import rollout_steps
from storage.control_socket.verbs.verb import Arguments, Danger, Process, Release, Verb, Why
from storage.errors import Invalid
from storage.home import secrets
from storage.keys import Role
from storage.rollout_steps import (
    HOUR_S,
    MOST_GUARDS,
    MOST_NOTIFIED,
    MOST_STEPS,
    Guard,
    Step,
    Strategy,
)


class Start(Arguments, frozen=True, kw_only=True):
    """The candidate, and the steps to it; without `steps` and `guards` those of the strategy.

    `load_timeout_s` bounds the wait for the candidate to load. Within `rollback_window_s` after a
    rollout the release that lost the traffic stays loaded, and going back to it skips the steps.
    The addresses in `notify` get a message at each pause and end; `webhook_secret` refers to the
    deposited key that signs all messages.
    """

    release: Release
    strategy: Strategy = Strategy.CANARY
    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=MOST_STEPS)] | None = None
    guards: Annotated[tuple[Guard, ...], Meta(max_length=MOST_GUARDS)] | None = None
    load_timeout_s: Annotated[int, Meta(ge=1, le=24 * HOUR_S)] = HOUR_S // 2
    rollback_window_s: Annotated[int, Meta(ge=0, le=30 * 24 * HOUR_S)] = HOUR_S
    notify: Annotated[tuple[str, ...], Meta(max_length=MOST_NOTIFIED)] = ()
    webhook_secret: Annotated[str, Meta(pattern=rf"^{secrets.PATTERN}\Z")] | None = None

    def __post_init__(self) -> None:
        """Refuse steps that do not lead to all of the traffic, or do so by time alone."""
        guards = rollout_steps.GUARDS if self.guards is None else self.guards
        for url in self.notify:
            try:
                rollout_steps.check_url(url)
            except ValueError as error:
                raise ValueError(f"{error} - at `$.notify`") from error
        try:
            steps = self.steps or rollout_steps.DEFAULTS[self.strategy]
            rollout_steps.fits(self.strategy, steps, guards)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.strategy`") from error
        if self.steps is not None:
            if (at := rollout_steps.ungated(self.steps)) is not None:
                said = f"step {at + 1} needs an analysis, or a pause without an end, after it"
                raise ValueError(f"{said} - at `$.steps`")
            try:
                rollout_steps.check(self.steps, guards)
            except Invalid as error:
                raise ValueError(f"{str(error).rstrip('.')} - at `$.steps`") from error


_Rollout = Annotated[int, Meta(ge=1, le=2**53)]


class Of(Arguments, frozen=True, kw_only=True):
    """The rollout of the target that the person saw, by its number."""

    rollout: _Rollout


class Promote(Arguments, frozen=True, kw_only=True):
    """The rollout of the target; `full` skips all of its steps."""

    rollout: _Rollout
    full: bool = False


class Undo(Arguments, frozen=True, kw_only=True):
    """The rollout of the target to undo, or the revision to go to; 0 is before the first."""

    rollout: _Rollout | None = None
    to_revision: Annotated[int, Meta(ge=0, le=2**53)] | None = None

    def __post_init__(self) -> None:
        """Refuse an undo that does not name its target: it would toggle."""
        if (self.rollout is None) == (self.to_revision is None):
            raise ValueError("name the rollout to undo, or the revision to go to - at `$.rollout`")


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "rollouts.start", Start, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Start a rollout of a release",
        "rollouts start SERVICE --to r2 [--strategy canary]",
        Why.ASKED,
    ),
    Verb(
        "rollouts.plan", Start, Role.VIEWER, Danger.LOOK, Process.CONTROL,
        "Say what a rollout would find, and how long it would take",
        "rollouts plan SERVICE --to r2 [--strategy canary]",
    ),
    Verb(
        "rollouts.pause", Of, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Pause a rollout before its next step",
        "rollouts pause SERVICE",
        Why.ASKED,
    ),
    Verb(
        "rollouts.promote", Promote, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Lead a rollout to its next step, or to its end",
        "rollouts promote SERVICE [--full]",
        Why.ASKED,
    ),
    Verb(
        "rollouts.abort", Of, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Abort a rollout: all traffic back to the stable release",
        "rollouts abort SERVICE",
        Why.ASKED,
    ),
    Verb(
        "rollouts.retry", Of, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Begin an aborted rollout again",
        "rollouts retry SERVICE",
        Why.ASKED,
    ),
    Verb(
        "rollouts.undo", Undo, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Go back to the release before a rollout",
        "rollouts undo SERVICE [--to-revision N]",
        Why.ASKED,
    ),
)  # fmt: skip
