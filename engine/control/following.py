"""Releases that follow a label: each move of it creates new releases and switches services to them.

The next release has everything of the one before except the prompt version. All of it happens in
the transaction of the label's move: a service that cannot be switched refuses the move as a whole.
Imported by `engine.control.prompts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from engine.control import loadable
from engine.control.decisions import Refusal
from engine.control.rollouts import starting, starts, undoing
from storage import errors, models, prompts, releases, rollouts, services, splits
from storage.control_socket import verbs
from storage.intents import Intent
from storage.prompts import PromptVersion
from storage.releases import Release
from storage.rollout_steps import OnLabel, Strategy
from storage.rollouts import OPEN, Rollout, State
from storage.services import Arm, Service
from storage.store import Session


@dataclass(frozen=True, slots=True)
class Moved:
    """A label that points at `version` now and pointed at version `before`.

    `undoes` is the intent of the move that is taken back, None for a move forward.
    """

    prompt: str
    label: str
    version: PromptVersion
    before: int | None
    intent: Intent
    undoes: int | None

    @property
    def name(self) -> str:
        """The label as people write it: terse:production."""
        return f"{self.prompt}:{self.label}"


@dataclass(frozen=True, slots=True)
class Change:
    """A service whose live releases are replaced; `arms` are the weights that it gets."""

    service: Service
    arms: tuple[Arm, ...]
    moved: Moved


async def carry(s: Session, moved: Moved, at_us: int) -> str:
    """Create the new releases and switch services to them; what was done, as a sentence.

    Raises:
        errors.Frozen, errors.NotOwner: a service may not be changed now; it names the service.
        Refusal: a release that would serve cannot answer.
    """
    every = await services.every(s)
    successors = await _successors(s, moved, every, at_us)
    if not successors:
        return "Releases keep the prompt version that they were created with."
    switched = []
    for service in every:
        arms = replaced(service.split.arms, successors)
        change = Change(service, arms, moved)
        if (led := await _led(s, change)) is not None:
            switched.append(await _take_back(s, change, led, at_us))
        elif arms != service.split.arms:
            switched.append(await switch(s, change, at_us))
    made = ", ".join(f"r{old} → r{new}" for old, new in successors.items())
    served = "; ".join(switched) or "no service serves them"
    return f"Followed by {made}; {served}."


def replaced(arms: tuple[Arm, ...], successors: Mapping[int, int]) -> tuple[Arm, ...]:
    """The arms with their successors in place of those that get traffic."""
    weights: dict[int, int] = {}
    for arm in arms:
        release = successors.get(arm.release, arm.release) if arm.weight_bp else arm.release
        weights[release] = weights.get(release, 0) + arm.weight_bp
    found = tuple(Arm(release=each, weight_bp=weight) for each, weight in weights.items())
    return arms if found == arms else tuple(sorted(found, key=lambda arm: arm.release))


async def switch(s: Session, change: Change, at_us: int) -> str:
    """Give a service its new arms, or start the rollout to them that it asks for; what was done.

    Raises:
        errors.Frozen, errors.NotOwner, Refusal: it may not be changed; the message says why.
    """
    service, undoes = change.service, change.moved.undoes
    if undoes is None and service.on_label is not OnLabel.AT_ONCE:
        return await _lead(s, change, at_us)
    await _split(s, change, at_us)
    return f"{service.name}: {splits.words(splits.pairs(change.arms))}"


async def _lead(s: Session, change: Change, at_us: int) -> str:
    """Start the rollout to the release that takes the place of the live one."""
    service = change.service
    candidate = next(arm.release for arm in change.arms if arm.weight_bp)
    start = starts.as_usual(service, f"r{candidate}", Strategy(service.on_label.value))
    try:
        done = await starting.start(s, _about(change), start, at_us)
    except (errors.Frozen, errors.NotOwner) as error:
        raise type(error)(_refused(change, str(error))) from error
    if done.plan is None:
        raise Refusal(done.reason, _refused(change, done.sentence))
    return f"{service.name}: {done.sentence.rstrip('.')}"


async def _led(s: Session, change: Change) -> Rollout | None:
    """The rollout that the move which is taken back started, while there is something to undo."""
    undoes = change.moved.undoes
    latest = None if undoes is None else await rollouts.latest(s, change.service.name)
    if latest is None or latest.intent_id != undoes:
        return None
    return latest if latest.state in OPEN | {State.COMPLETED} else None


async def _take_back(s: Session, change: Change, led: Rollout, at_us: int) -> str:
    """Undo that rollout, as a person would."""
    undo = verbs.rollouts.Undo(rollout=led.id)
    done = await undoing.undo(s, _about(change), undo, at_us)
    if done.plan is None:
        raise Refusal(done.reason, _refused(change, done.sentence))
    return done.sentence.rstrip(".")


def _about(change: Change) -> Intent:
    """The intent of the label's move, as one about the service."""
    return msgspec.structs.replace(change.moved.intent, target=change.service.name)


async def _split(s: Session, change: Change, at_us: int) -> None:
    """Give a service its new arms, as a person's change of its split would."""
    service, moved = change.service, change.moved
    broken = await loadable.broken(s, change.arms)
    if refusal := loadable.refuse(change.arms, broken, service.split.arms):
        raise Refusal(refusal.reason, _refused(change, refusal.sentence))
    try:
        if (back := await _before(s, change)) is not None:
            await services.go_back(
                s,
                service=service.name,
                to=back,
                actor=moved.intent.actor,
                at_us=at_us,
                intent_id=moved.intent.id,
            )
        else:
            await services.set_split(
                s,
                service=service.name,
                arms=change.arms,
                expected_version=service.version,
                actor=moved.intent.actor,
                at_us=at_us,
                intent_id=moved.intent.id,
            )
    except (errors.Frozen, errors.NotOwner) as error:
        raise type(error)(_refused(change, str(error))) from error


async def _before(s: Session, change: Change) -> int | None:
    """The split to go back to: the one before, where undoing the move amounts to that.

    Going back is allowed on a frozen service, and gives each user the arm from before.
    """
    service, undoes = change.service, change.moved.undoes
    if undoes is None or service.split.intent_id != undoes or service.owner is not None:
        return None
    before = await services.split_before(s, service.name, service.split.id)
    return before.id if before is not None and {*before.arms} == {*change.arms} else None


async def _successors(s: Session, moved: Moved, every: list[Service], at_us: int) -> dict[int, int]:
    """By each release that the label's move replaces: the release that takes its place."""
    live = {arm.release for each in every for arm in each.split.arms if arm.weight_bp}
    before = None
    if moved.before is not None:
        before = (await prompts.find(s, f"{moved.prompt}@{moved.before}")).id
    found = {}
    for release in await releases.every(s, follows=moved.name):
        if release.prompt_version_id == moved.version.id:
            continue
        if release.prompt_version_id == before or release.number in live:
            found[release.number] = (await _next(s, release, moved, at_us)).number
    return found


async def _next(s: Session, release: Release, moved: Moved, at_us: int) -> Release:
    """The release with another prompt version; after going back it is one from before."""
    model = release.model_version_id
    version = None if model is None else await models.get(s, model)
    base = None if version is None or version.base_id is None else version.base_id
    return await releases.create(
        s,
        model_version=version,
        base=None if base is None else await models.get(s, base),
        prompt_version=moved.version,
        follows=moved.name,
        sampling=release.sampling,
        limits=release.limits,
        engine=release.engine,
        upstream=release.upstream,
        server=release.server,
        comment=f"follows {moved.name} from {release.name}",
        actor=moved.intent.actor,
        at_us=at_us,
        intent_id=moved.intent.id,
    )


def _refused(change: Change, why: str) -> str:
    return f"{change.moved.name} was not moved, because {change.service.name} follows it: {why}"
