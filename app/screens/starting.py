"""Leading traffic to a release from the screen: a rollout, or a split by hand.

Pure functions of what is on the screen; control checks all of it again. Imported by the place of
releases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from app import rollout_options, snapshot
from app.errors import BadWord
from app.screens import splitting
from app.screens.place import Offer
from storage import rollout_guards, rollout_steps, splits
from storage.rollout_policies import Policy
from storage.rollout_steps import Strategy
from storage.splits import WHOLE_BP

NAMES: Final = ("rollouts.start", "services.split")
_HINT: Final = (
    "service and strategy; then, if others than its policy's: steps 5, pause 10m, 100   "
    "guards error_rate<=2%, latency_p95<=800ms   and for a shadow: then canary"
)
_PARTS: Final = frozenset({"steps", "guards", "then"})
_SPLIT_HINT: Final = "service, percent; enter shows the effect"


def offer(
    name: str, release: snapshot.ReleaseRow | None, seen: snapshot.Releases, typed: str | None
) -> Offer | None:
    """What an action would do with a release; None where it is about something else."""
    if name not in NAMES:
        return None
    if release is None:
        return Offer(unable="there is no release under the cursor")
    waits = seen.waits.get(release.number)
    if waits is not None and waits.refused:
        return Offer(unable=f"{release.name} cannot answer: {waits.reason}")
    if name == "rollouts.start":
        return _start(release, seen, typed)
    return _split(release, seen, typed)


def service(
    release: snapshot.ReleaseRow, services: Sequence[snapshot.Service]
) -> snapshot.Service | None:
    """The service that is meant where none is named: one that has the release in its split."""
    named = dict(release.live)
    return next((each for each in services if each.name in named), next(iter(services), None))


def _start(release: snapshot.ReleaseRow, seen: snapshot.Releases, typed: str | None) -> Offer:
    if typed is None:
        meant = service(release, seen.services)
        policy = (None if meant is None else meant.rollout_policy) or Policy()
        form = f"{'' if meant is None else meant.name} {policy.strategy.value.replace('_', '-')}"
        return Offer(form=form, hint=_HINT)
    name, _, rest = typed.strip().partition(" ")
    if not name:
        return Offer(unable="type the service first", form=typed, hint=_HINT)
    found = next((each for each in seen.services if each.name == name), None)
    try:
        arguments = _arguments(release.name, rest, None if found is None else found.rollout_policy)
        plan = rollout_options.planned(arguments)
    except BadWord as error:
        return Offer(unable=str(error).rstrip("."), form=typed, hint=_HINT)
    if why := _busy(release, found):
        return Offer(unable=why, form=typed, hint=_HINT)
    return Offer(
        target=name, arguments=arguments, effect=_effect(release, found, name, arguments, plan)
    )


def _arguments(release: str, rest: str, usual: Policy | None) -> dict[str, Any]:
    """The arguments of what was typed after the service, the rest as its policy has it.

    Raises:
        BadWord: it cannot be used.
    """
    parts: dict[str, str] = {"steps": ""}
    part, words = "steps", rest.split()
    known = [each.value.replace("_", "-") for each in Strategy]
    if not words or words[0] not in known:
        raise BadWord(f"Type a strategy after the service: {', '.join(known)}.")
    for word in words[1:]:
        if word in _PARTS:
            part = word
            parts.setdefault(part, "")
        else:
            parts[part] += f" {word}"
    guards = [each.strip() for each in parts.get("guards", "").split(",")]
    typed = rollout_options.Typed(
        to=release,
        strategy=Strategy(words[0].replace("-", "_")),
        steps=parts["steps"].strip() or None,
        then=_strategy(parts["then"].strip()) if "then" in parts else None,
        guards=[each for each in guards if each],
    )
    return rollout_options.arguments(typed, usual)


def _strategy(typed: str) -> Strategy:
    try:
        return Strategy(typed.replace("-", "_"))
    except ValueError as error:
        raise BadWord("Type canary or blue-green after `then`.") from error


def _busy(release: snapshot.ReleaseRow, found: snapshot.Service | None) -> str:
    """Why no rollout to the release can begin at a service; empty where one can."""
    if found is None:
        return ""
    if kept := found.frozen or (found.owner and f"owned by {found.owner}"):
        return f"{found.name} is {kept}"
    whole = [each for each, points in found.history[0].arms if points == WHOLE_BP]
    if not whole:
        arms = splits.words(found.history[0].arms)
        return f"{found.name} is split ({arms}); set it to one release first (s)"
    return f"{release.name} is the stable release of {found.name}" * (whole == [release.number])


def _effect(
    release: snapshot.ReleaseRow,
    found: snapshot.Service | None,
    name: str,
    arguments: Mapping[str, Any],
    plan: rollout_options.Plan,
) -> str:
    if found is None:
        return f"start: creates the service {name}, which {release.name} answers at once"
    stable = next(each for each, points in found.history[0].arms if points == WHOLE_BP)
    listed = ", ".join(map(rollout_steps.words, plan.steps))
    guards = ", ".join(guard.name for guard in plan.guards) or "none"
    kind = str(arguments["strategy"])
    how = kind.replace("_", "-") + _by(found.rollout_policy, kind, plan)
    return f"start: {name} r{stable} → {release.name}, {how}: {listed}; guards {guards}"


def _by(policy: Policy | None, strategy: str, plan: rollout_options.Plan) -> str:
    """Whether the policy of the service is used, and which parts are not; empty without one."""
    if policy is None:
        return ""
    steps = policy.steps or rollout_steps.DEFAULTS[policy.strategy]
    guards = rollout_guards.GUARDS if policy.guards is None else policy.guards
    others = [
        name
        for name, is_other in (
            ("strategy", strategy != policy.strategy),
            ("steps", plan.steps != steps),
            ("guards", plan.guards != guards),
        )
        if is_other
    ]
    return " by the policy" + (f" except {', '.join(others)}" if others else "")


def _split(release: snapshot.ReleaseRow, seen: snapshot.Releases, typed: str | None) -> Offer:
    """Set the weights that were typed, by a service's name and its arms."""
    if typed is None:
        meant = service(release, seen.services)
        if meant is None:
            return Offer(unable="there is no service yet; n starts the first one")
        arms = dict(meant.history[0].arms) if meant.history else {}
        arms.setdefault(release.number, 0)
        return Offer(form=f"{meant.name} {splits.typed(arms.items())}", hint=_SPLIT_HINT)
    name, _, arms_typed = typed.strip().partition(" ")
    found = next((each for each in seen.services if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in seen.services)
        return Offer(unable=f"there is no service {name!r}: {known}", form=typed, hint=_SPLIT_HINT)
    made = splitting.split(found, arms_typed, seen.waits)
    if made.unable:
        return Offer(unable=made.unable, form=typed, hint=_SPLIT_HINT)
    return made
