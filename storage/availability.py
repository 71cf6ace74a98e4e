"""Whether a release could answer if it got traffic now, and why not.

Puts together the verdicts of the node, the processes, the health of upstreams and the model files
(of which it only asks whether they are there). Makes no verdict. Imported by `engine.control`,
which refuses splits by it, and by `app`, which says it before it asks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from storage import (
    deployments,
    models,
    processes,
    releases,
    retired_releases,
    services,
    upstream_health,
)
from storage.deployments import Backend, Deployment, Status
from storage.models import Kind, ModelVersion
from storage.processes import Process, State
from storage.releases import Release

_LOOP: Final = 3  # restarts after which an instance that is not ready is in a crash loop
_ENTRIES: Final = 24  # of an instance, among which its last start is


class Can(StrEnum):
    """What a release would do with a request."""

    ANSWER = "answer"  # an instance is ready, or the upstream answers
    WAIT = "wait"  # not at once: an instance has to start, an upstream to come back
    NOT = "not"


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """A release now; `reason` is a clause, empty while it can answer.

    `starts_in_us` is what its deployment took to start the last time, where it has to wait.
    """

    can: Can
    reason: str = ""
    starts_in_us: int | None = None


async def every(s: AsyncSession, numbers: Sequence[int] | None = None) -> dict[int, Availability]:
    """The releases with these numbers, or all, by number."""
    asked = await releases.every(s, numbers=numbers)
    placed = {each.deployment for each in asked}
    known = {each.name: each for each in await deployments.every(s, placed)}
    instances: dict[str, list[Process]] = {}
    for process in await processes.every(s):
        if process.deployment is not None:
            instances.setdefault(process.deployment, []).append(process)
    weights = {each.model_version_id for each in asked if each.model_version_id is not None}
    versions = await models.with_bases(s, weights)
    health = await upstream_health.every(s)
    retired = await retired_releases.every(s)
    named = await services.named_releases(s)
    found: dict[int, Availability] = {}
    for release in asked:
        if (gone := retired.get(release.number)) is not None:
            advice = f"`paddock releases unretire {release.name}` brings it back"
            found[release.number] = _not(f"it was retired by {gone.actor}; {advice}")
            continue
        deployment = known[release.deployment]
        running = instances.get(release.deployment, [])
        named_already = release.number in named
        now = judge(release, deployment, running, versions, health, named=named_already)
        if now.can is Can.WAIT and not any(each.state is State.READY for each in running):
            took = await _last_start_us(s, deployment)
            now = msgspec.structs.replace(now, starts_in_us=took)
        found[release.number] = now
    return found


def judge(
    release: Release,
    deployment: Deployment,
    instances: Sequence[Process],
    versions: Mapping[int, ModelVersion],
    health: Mapping[str, upstream_health.Health],
    *,
    named: bool,
) -> Availability:
    """What a release could do, by what is known of its deployment and its files.

    `named`: a split names it, so an instance that is ready has its adapter in memory.
    """
    if deployment.status is Status.FAILING:
        why = (deployment.status_reason or "no reason was given").rstrip(".")
        advice = f"`paddock deployments restart {deployment.name}` starts it again"
        return _not(f"{deployment.name} is failing: {why}; {advice}")
    if deployment.backend is Backend.UPSTREAM:
        known = health.get(deployment.upstream or "")
        if known is not None and known.reason:  # it may be back at its next check
            why = known.reason.rstrip(".")
            return Availability(can=Can.WAIT, reason=f"upstream {deployment.upstream}: {why}")
        return Availability(can=Can.ANSWER)
    ready = [each for each in instances if each.state is State.READY]
    if why := _file(release, versions, ready=bool(ready), named=named):
        return _not(why)
    return _serving(ready) if ready else _starting(deployment, instances)


def _serving(ready: Sequence[Process]) -> Availability:
    if any(each.silent_since_us is None for each in ready):
        return Availability(can=Can.ANSWER)
    return Availability(can=Can.WAIT, reason=f"{ready[0].name} gives no sign of life")


def _starting(deployment: Deployment, instances: Sequence[Process]) -> Availability:
    looping = [each for each in instances if each.restarts >= _LOOP]
    if looping:
        worst = looping[0]
        why = f": {worst.reason.rstrip('.')}" if worst.reason else ""
        return _not(f"{worst.name} has ended {worst.restarts} times and is not ready{why}")
    state = "is starting" if instances else "is not loaded"
    return Availability(can=Can.WAIT, reason=f"{deployment.name} {state}")


def _not(reason: str) -> Availability:
    return Availability(can=Can.NOT, reason=reason.rstrip("."))


def _file(
    release: Release, versions: Mapping[int, ModelVersion], *, ready: bool, named: bool
) -> str:
    """What is wrong with the files of a release; what is in memory serves without its file."""
    version = versions.get(release.model_version_id or 0)
    if version is None:
        return ""
    for each in (version, versions.get(version.base_id or 0)):
        if each is None or (ready and each.kind is Kind.WEIGHTS):
            continue
        loaded = ready and named
        if each.status is models.Status.UNLOADABLE:
            why = (each.status_reason or "no reason was given").rstrip(".")
            return f"{each.name} cannot be loaded ({why}). Add the same file again to retry it"
        gone = [] if loaded else [file.path for file in each.files if _missing(file.path)]
        if gone:
            return f"the file of {each.name} is missing: {gone[0]}"
    return ""


def _missing(path: str) -> bool:
    """Whether there is no such file; one that this user may not see may be there."""
    try:
        os.stat(path)  # noqa: PTH116 a path need not be UTF-8
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


async def _last_start_us(s: AsyncSession, deployment: Deployment) -> int | None:
    """How long an instance of a deployment took from its start to readiness the last time."""
    for name in deployment.instances:
        if (took_us := await processes.last_start_us(s, name)) is not None:
            return took_us
    return None
