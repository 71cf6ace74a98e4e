"""How the next release of a service comes to its traffic: a strategy with its steps and guards.

A rollout is started by a policy and a candidate; a service keeps the policy that its manifest gives
it. Pure. Imported by every package.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

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
        """Refuse steps that do not lead to all of the traffic, by guards or by a person."""
        guards = rollout_guards.GUARDS if self.guards is None else self.guards
        for url in self.notify:
            try:
                rollout_steps.check_url(url)
            except ValueError as error:
                raise ValueError(f"{error} - at `$.notify`") from error
        steps = self.steps or rollout_steps.DEFAULTS[self.strategy]
        try:
            rollout_steps.fits(self.strategy, steps, guards)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.strategy`") from error
        if self.steps is not None and (at := rollout_steps.ungated(self.steps)) is not None:
            said = f"step {at + 1} needs an analysis, or a pause without an end, after it"
            raise ValueError(f"{said} - at `$.steps`")
        try:
            rollout_steps.check(steps, guards)
        except Invalid as error:
            field = "guards" if self.steps is None else "steps"
            raise ValueError(f"{str(error).rstrip('.')} - at `$.{field}`") from error

    @property
    def words(self) -> str:
        """In one line: canary: 5 %, analysis of at most 1 h, 100 %."""
        steps = self.steps or rollout_steps.DEFAULTS[self.strategy]
        told = ", ".join(rollout_steps.words(step) for step in steps)
        return f"{self.strategy.value.replace('_', '-')}: {told}"


def resolved(policy: Policy | None, given: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The fields of a rollout: those given, the rest as the policy of its service has them.

    Also whether the steps are the policy's. Another strategy, or steps, replace both of the policy,
    as they belong together; guards on copies are left out where none are made. A field that is not
    returned is at its default. The values are not checked: that is done where they are used.
    """
    if policy is None:
        return dict(given), False
    known = {
        each.name: getattr(policy, each.name)
        for each in msgspec.structs.fields(Policy)
        if each.name == "strategy" or getattr(policy, each.name) != each.default
    }
    if "steps" in given or given.get("strategy", policy.strategy) != policy.strategy:
        for name in ("strategy", "steps"):
            known.pop(name, None)
        known |= _guards(policy.guards, given)
    found = {name: value for name, value in (known | dict(given)).items() if value is not None}
    return found, policy.steps is not None and "steps" in known


def _guards(
    guards: tuple[Guard, ...] | None, given: Mapping[str, Any]
) -> dict[str, tuple[Guard, ...] | None]:
    """The guards of a policy beside a strategy or steps that are not its own.

    None, for the default ones, where a policy without guards would be held to no analysis.
    """
    if guards is None:
        return {}
    if given.get("strategy") == Strategy.SHADOW:
        kept = guards
    else:
        kept = tuple(guard for guard in guards if guard.counts(copies=False))
    return {"guards": kept or (None if guards or "steps" not in given else ())}


def encode(policy: Policy | None) -> str | None:
    """As the store keeps it; None where releases are changed at once."""
    return None if policy is None else msgspec.json.encode(policy).decode()


@functools.lru_cache(maxsize=256)
def decode(kept: str | None) -> Policy | None:
    """From what the store keeps.

    Guards that no rollout could start with were once accepted: of those named twice the first ones
    are kept, and an empty list for steps that need a guard is replaced by the default ones.
    """
    if kept is None:
        return None
    try:
        return msgspec.json.decode(kept, type=Policy)
    except msgspec.ValidationError:
        fields = msgspec.json.decode(kept)
        guards = msgspec.convert(fields.pop("guards", None) or (), tuple[Guard, ...])
        if guards:
            first: dict[str, Guard] = {}
            for each in guards:
                first.setdefault(each.name, each)
            fields["guards"] = tuple(first.values())
        return msgspec.convert(fields, Policy)
