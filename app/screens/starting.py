"""Leading traffic to a release from the screen: a rollout, or a split by hand.

Pure functions of what is on the screen; control checks all of it again. Imported by the place of
releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from app import snapshot
from app.screens import splitting
from app.screens.place import Offer
from storage import rollout_steps, rollout_syntax, splits
from storage.errors import Invalid
from storage.rollout_steps import Step, Strategy
from storage.splits import WHOLE_BP

NAMES: Final = ("rollouts.start", "services.split")
_HINT: Final = "service, strategy, steps if others: canary 5, 50, 100"
_SPLIT_HINT: Final = "service, percent; enter shows the effect"
_WORDS: Final = 2


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
        return Offer(form=f"{'' if meant is None else meant.name} canary", hint=_HINT)
    name, strategy, steps, why = _typed(typed)
    found = next((each for each in seen.services if each.name == name), None)
    why = why or _busy(release, found)
    if why or strategy is None:
        return Offer(unable=why, form=typed, hint=_HINT)
    arguments: dict[str, object] = {"release": release.name, "strategy": strategy.value}
    if steps is not None:
        arguments["steps"] = msgspec.to_builtins(steps)
    return Offer(
        target=name, arguments=arguments, effect=_effect(release, found, name, strategy, steps)
    )


def _typed(typed: str) -> tuple[str, Strategy | None, tuple[Step, ...] | None, str]:
    """Service, strategy and steps of what was typed; or why it cannot be used."""
    name, _, rest = typed.strip().partition(" ")
    word, _, listed = rest.strip().partition(" ")
    known = [each.value.replace("_", "-") for each in Strategy]
    if not name or word not in known:
        return name, None, None, f"type the service and a strategy: {', '.join(known)}"
    strategy = Strategy(word.replace("-", "_"))
    if not listed.strip():
        return name, strategy, None, ""
    try:
        steps = rollout_syntax.parse_steps(listed.split(","))
        rollout_steps.check(steps, rollout_steps.GUARDS)
        rollout_steps.fits(strategy, steps, rollout_steps.GUARDS)
    except Invalid as error:
        return name, None, None, str(error).rstrip(".")
    return name, strategy, steps, ""


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
    strategy: Strategy,
    steps: tuple[Step, ...] | None,
) -> str:
    if found is None:
        return f"start: creates the service {name}, which {release.name} answers at once"
    stable = next(each for each, points in found.history[0].arms if points == WHOLE_BP)
    listed = ", ".join(map(rollout_steps.words, steps or rollout_steps.DEFAULTS[strategy]))
    guards = ", ".join(guard.name for guard in rollout_steps.GUARDS)
    kind = strategy.value.replace("_", "-")
    return f"start: {name} r{stable} → {release.name}, {kind}: {listed}; guards {guards}"


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
