"""Services and their splits: who answers, and how often. The first controller that is real.

Decides with what stands in the store; the gateway and the node act on the split that is set.
Imported by `engine.control.registry`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.control.decisions import Decision, Reason
from engine.control.registry import controls
from storage import models, processes, releases, services
from storage.control_socket import verbs
from storage.intents import Intent
from storage.models import Kind, ModelVersion, Standing
from storage.processes import State
from storage.services import Arm, Service
from storage.store import Session


@dataclass(frozen=True, slots=True)
class Observed:
    """What the decision about a split rests on. `broken` says why a release cannot be loaded."""

    service: Service
    broken: Mapping[int, str]


@controls("services.create")
async def create(
    s: Session, intent: Intent, arguments: verbs.ServicesCreate, at_us: int
) -> Decision:
    """A new service, all of it on one release."""
    release = await releases.find(s, arguments.release)
    arms = (Arm(release=release.number, weight_bp=services.WHOLE_BP),)
    if refusal := _unloadable(arms, await _broken(s, arms)):
        return refusal
    created = await services.create(
        s,
        name=intent.target,
        release=release.number,
        record_text=arguments.record_text,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, f"{created.name} answers with {release.name}.", created)


@controls("services.split")
async def split(s: Session, intent: Intent, arguments: verbs.ServicesSplit, at_us: int) -> Decision:
    """Set the weights of the arms."""
    standing = await services.find(s, intent.target)
    arms = tuple(
        [
            Arm(release=(await releases.find(s, name)).number, weight_bp=weight)
            for name, weight in arguments.arms.items()
        ]
    )
    services.check_arms(arms)
    decision = decide(arms, Observed(standing, await _broken(s, arms)), intent.expected_version)
    if decision.plan is not None:
        await services.set_split(
            s,
            service=standing.name,
            arms=arms,
            expected_version=intent.expected_version,
            actor=intent.actor,
            at_us=at_us,
            intent_id=intent.id,
        )
    return decision


@controls("services.undo")
async def undo(s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Set the split that stood before the current one."""
    standing = await services.find(s, intent.target)
    past = await services.history(s, standing.name, limit=2)
    arms = past[-1].arms
    if refusal := _unloadable(arms, await _broken(s, arms)):
        return refusal
    now = await services.undo(
        s,
        service=standing.name,
        expected_version=intent.expected_version,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, _told(standing, now.arms), now)


def decide(arms: Sequence[Arm], observed: Observed, expected_version: int | None) -> Decision:
    """Whether a split that is well formed may be set. A split that stands already is kept."""
    standing = observed.service
    if refusal := _unloadable(arms, observed.broken):
        return refusal
    same = set(arms) == set(standing.split.arms)
    if same and expected_version in {None, standing.version}:
        return Decision(Reason.UNCHANGED, f"{standing.name} is split so already: {words(arms)}.")
    return Decision(Reason.APPLIED, _told(standing, arms), tuple(arms))


def words(arms: Sequence[Arm]) -> str:
    """The arms as people read them."""
    return ", ".join(f"r{arm.release} {arm.weight_bp / 100:g} %" for arm in arms)


def _told(before: Service, arms: Sequence[Arm]) -> str:
    return f"{before.name}: {words(arms)} (before: {words(before.split.arms)})."


def _unloadable(arms: Sequence[Arm], broken: Mapping[int, str]) -> Decision | None:
    """An arm that would get traffic and cannot give any; without traffic it may stand."""
    for arm in arms:
        if arm.weight_bp and arm.release in broken:
            return Decision(Reason.UNLOADABLE, broken[arm.release])
    return None


async def _broken(s: Session, arms: Sequence[Arm]) -> dict[int, str]:
    """Weights that a worker has loaded and serves are not broken, whatever became of the file."""
    found: dict[int, str] = {}
    ready = {part.name for part in await processes.every(s) if part.state is State.READY}
    for arm in arms:
        release = await releases.get(s, arm.release)
        if release.model_version_id is None:
            continue
        version = await models.get(s, release.model_version_id)
        below = None if version.base_id is None else await models.get(s, version.base_id)
        for each in (version, below):
            if each is None or each.standing is not Standing.UNLOADABLE:
                continue
            if each.kind is Kind.ADAPTER or release.deployment not in ready:
                found[arm.release] = why(release.name, each)
    return found


def why(release: str, version: ModelVersion) -> str:
    """Why a release cannot answer."""
    reason = (version.standing_reason or "no reason was given").rstrip(".")
    return (
        f"{release} cannot answer: {version.name} cannot be loaded ({reason}). "
        "Add the same file again to have it tried again."
    )
