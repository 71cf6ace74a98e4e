"""Whether the releases of a split can be loaded, and the refusal where one cannot.

Reads the verdicts of the node and never makes one. Imported by `engine.control.services`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.control.decisions import Decision, Reason
from storage import models, processes, releases
from storage.models import Kind, ModelVersion, Status
from storage.processes import State
from storage.splits import Arm
from storage.store import Session


def why(release: str, version: ModelVersion) -> str:
    """Why a release cannot answer."""
    reason = (version.status_reason or "no reason was given").rstrip(".")
    return (
        f"{release} cannot answer: {version.name} cannot be loaded ({reason}). "
        "Add the same file again to retry it."
    )


def refuse(arms: Sequence[Arm], broken: Mapping[int, str]) -> Decision | None:
    """The refusal of an arm that would get traffic and cannot answer; weight 0 is fine."""
    for arm in arms:
        if arm.weight_bp and arm.release in broken:
            return Decision(Reason.UNLOADABLE, broken[arm.release])
    return None


async def broken(s: Session, arms: Sequence[Arm]) -> dict[int, str]:
    """Why releases cannot answer; weights that are loaded can, even without their file."""
    found: dict[int, str] = {}
    ready = {each.deployment for each in await processes.every(s) if each.state is State.READY}
    for arm in arms:
        release = await releases.get(s, arm.release)
        if release.model_version_id is None:
            continue
        version = await models.get(s, release.model_version_id)
        below = None if version.base_id is None else await models.get(s, version.base_id)
        for each in (version, below):
            if each is None or each.status is not Status.UNLOADABLE:
                continue
            if each.kind is Kind.ADAPTER or release.deployment not in ready:
                found[arm.release] = why(release.name, each)
    return found
