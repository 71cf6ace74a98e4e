"""Verbs of A/B tests: started, stopped, ended with a winner."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from storage import ab_test_goals, rollout_guards
from storage.ab_test_goals import MOST_GOALS, Goal
from storage.control_socket.verbs import verb
from storage.control_socket.verbs.verb import Arguments, Danger, Name, Process, Release, Verb, Why
from storage.errors import Invalid
from storage.keys import Role
from storage.rollout_guards import MOST_GUARDS, Guard
from storage.rollout_steps import HOUR_S


class Start(Arguments, frozen=True, kw_only=True):
    """The arms in basis points, the goals (the first decides), and when the test ends.

    Without `guards` the error rate is guarded. `least_units` of each arm come before a conclusion,
    `at_most_s` bounds the test, `load_timeout_s` the wait for its arms to load. `promotes` gives a
    winner all of the traffic; `label` of its prompt then points at its version.
    """

    arms: Annotated[
        dict[Release, Annotated[int, Meta(ge=1, lt=10_000)]], Meta(min_length=2, max_length=8)
    ]
    goals: Annotated[tuple[Goal, ...], Meta(min_length=1, max_length=MOST_GOALS)]
    guards: Annotated[tuple[Guard, ...], Meta(max_length=MOST_GUARDS)] | None = None
    least_units: Annotated[int, Meta(ge=20, le=100_000)] = 200
    at_most_s: Annotated[int, Meta(ge=60, le=90 * 24 * HOUR_S)] = 14 * 24 * HOUR_S
    load_timeout_s: Annotated[int, Meta(ge=1, le=24 * HOUR_S)] = HOUR_S // 2
    promotes: bool = False
    label: Name | None = None

    def __post_init__(self) -> None:
        """Refuse weights that do not add up, metrics named twice, a label without promotion."""
        verb.check_total(self.arms.values())
        try:
            ab_test_goals.check(self.goals)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.goals`") from error
        try:
            rollout_guards.of_requests(self.guards or ())
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.guards`") from error
        if self.label is not None and not self.promotes:
            raise ValueError("a label moves only if the winner is promoted - at `$.label`")


_AbTest = Annotated[int, Meta(ge=1, le=2**53)]


class Of(Arguments, frozen=True, kw_only=True):
    """The A/B test of the target that the person saw, by its number."""

    ab_test: _AbTest


class Promote(Arguments, frozen=True, kw_only=True):
    """The A/B test of the target; without `release` its winner gets all of the traffic."""

    ab_test: _AbTest
    release: Release | None = None
    label: Name | None = None


ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "ab_tests.start", Start, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Start an A/B test between releases",
        "ab-tests start SERVICE --arm r1=50 --arm r2=50 --goal thumbs_up",
        Why.ASKED,
    ),
    Verb(
        "ab_tests.stop", Of, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Stop an A/B test: all traffic back to the control",
        "ab-tests stop SERVICE",
        Why.ASKED,
    ),
    Verb(
        "ab_tests.promote", Promote, Role.OPERATOR, Danger.REVERSIBLE, Process.CONTROL,
        "Give the winner of an A/B test all of the traffic",
        "ab-tests promote SERVICE [--to r2]",
        Why.ASKED,
    ),
)  # fmt: skip
