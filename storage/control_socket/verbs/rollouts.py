"""Verbs of rollouts: as `kubectl argo rollouts` has them, and the plan before."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage.control_socket.verbs.verb import Arguments, Danger, Process, Release, Verb, Why
from storage.home import secrets
from storage.keys import Role
from storage.rollout_policies import Policy


class Start(Policy, Arguments, frozen=True, kw_only=True):
    """The candidate, and how it comes to the traffic.

    `webhook_secret` refers to the deposited key that signs all messages; without one it is the
    service's. `by_policy`: the steps are those of the service's policy, so that a way back to a
    release that was healthy a short while ago skips them.
    """

    release: Release
    webhook_secret: Annotated[str, Meta(pattern=rf"^{secrets.PATTERN}\Z")] | None = None
    by_policy: bool = False


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
        "Forecast what a rollout would find, and how long it would take",
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
        "Promote a rollout to its next step, or to its end",
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
        "Start an aborted rollout again",
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
