"""How the next release of a service comes to its traffic: a strategy with its steps and guards.

A rollout is started by a policy and a candidate; a service keeps the policy that its manifest gives
it. Pure. Imported by `storage.control_socket.verbs` and `storage.service_rows`.
"""

from __future__ import annotations

import functools
from typing import Annotated

import msgspec
from msgspec import Meta

from storage import rollout_guards, rollout_steps
from storage.errors import Invalid
from storage.rollout_guards import MOST_GUARDS, Guard
from storage.rollout_steps import HOUR_S, MOST_NOTIFIED, MOST_STEPS, Step, Strategy


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The steps to a candidate; without `steps` and `guards` those of the strategy.

    `load_timeout_s` bounds the wait for the candidate to load. Within `rollback_window_s` after a
    rollout the release that lost the traffic stays loaded, and going back to it skips the steps.
    The addresses in `notify` get a message at each pause and end.
    """

    strategy: Strategy = Strategy.CANARY
    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=MOST_STEPS)] | None = None
    guards: Annotated[tuple[Guard, ...], Meta(max_length=MOST_GUARDS)] | None = None
    load_timeout_s: Annotated[int, Meta(ge=1, le=24 * HOUR_S)] = HOUR_S // 2
    rollback_window_s: Annotated[int, Meta(ge=0, le=30 * 24 * HOUR_S)] = HOUR_S
    notify: Annotated[tuple[str, ...], Meta(max_length=MOST_NOTIFIED)] = ()

    def __post_init__(self) -> None:
        """Refuse steps that do not lead to all of the traffic, or do so by time alone."""
        guards = rollout_guards.GUARDS if self.guards is None else self.guards
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

    @property
    def words(self) -> str:
        """In one line: canary: 5 %, analysis of at most 1 h, 100 %."""
        steps = self.steps or rollout_steps.DEFAULTS[self.strategy]
        told = ", ".join(rollout_steps.words(step) for step in steps)
        return f"{self.strategy.value.replace('_', '-')}: {told}"


def encode(policy: Policy | None) -> str | None:
    """As the store keeps it; None where releases are changed at once."""
    return None if policy is None else msgspec.json.encode(policy).decode()


@functools.lru_cache(maxsize=256)
def decode(kept: str | None) -> Policy | None:
    """From what the store keeps."""
    return None if kept is None else msgspec.json.decode(kept, type=Policy)
