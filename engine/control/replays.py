"""Replays: recorded requests that are asked again, by a job, on releases that can answer.

A release that no split names is loaded for the replay; one that does not fit into the memory that
is free is refused as a split would be. Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from typing import Final

from engine.control import loadable, memory
from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import releases, replay_items, replays, requests, services
from storage.control_socket import verbs
from storage.intents import Intent
from storage.releases import Release
from storage.replays import Kind, Replay
from storage.requests import Outcome, Request
from storage.services import WHOLE_BP, Arm
from storage.store import Session

_SECOND_US: Final = 1_000_000
_SPLITS: Final = 10_000
_ENDED: Final = frozenset({Outcome.OK, Outcome.FAILED})


@handles("replays.request")
async def request(
    s: Session, intent: Intent, arguments: verbs.replays.Request, at_us: int
) -> Decision:
    """Queue the job that asks one request again."""
    release = await releases.find(s, arguments.release)
    if refusal := await _refuse(s, release, at_us):
        return refusal
    recorded = await requests.beginning(s, intent.target)
    if refusal := await _unrecorded(s, recorded):
        return refusal
    replay = await replays.add(
        s, kind=Kind.REQUEST, service=recorded.service, releases=[release.number], sample=1,
        actor=intent.actor, at_us=at_us, intent_id=intent.id,
    )  # fmt: skip
    await replay_items.add(s, replay.id, [(recorded.id, release.number)])
    return _queued(replay)


@handles("replays.sample")
async def sample(
    s: Session, intent: Intent, arguments: verbs.replays.Sample, at_us: int
) -> Decision:
    """Queue the job that asks a sample of requests; it draws them."""
    release = await releases.find(s, intent.target)
    service = await services.find(s, arguments.service)
    if refusal := await _refuse(s, release, at_us):
        return refusal
    since = None if arguments.since_s is None else at_us - arguments.since_s * _SECOND_US
    replay = await replays.add(
        s, kind=Kind.SAMPLE, service=service.name, releases=[release.number],
        sample=arguments.sample, since_us=since, actor=intent.actor, at_us=at_us,
        intent_id=intent.id,
    )  # fmt: skip
    return _queued(replay)


@handles("replays.bisect")
async def bisect(
    s: Session, intent: Intent, arguments: verbs.replays.Bisect, at_us: int
) -> Decision:
    """Queue the job that asks one request on the releases of a service until one differs."""
    service = await services.find(s, intent.target)
    recorded = await requests.beginning(s, arguments.request)
    if refusal := await _unrecorded(s, recorded):
        return refusal
    found, skipped = [], []
    for number in await _history(s, service.name):
        release = await releases.get(s, number)
        if refusal := await _refuse(s, release, at_us):
            skipped.append(refusal.sentence)
        else:
            found.append(number)
    if len(found) < 2:  # noqa: PLR2004 one release has none to compare it with
        why = f": {' '.join(skipped)}" if skipped else "."
        said = f"{service.name} has fewer than two releases in its history that can answer{why}"
        return Decision(Reason.INVALID, said)
    replay = await replays.add(
        s, kind=Kind.BISECTION, service=service.name, releases=found, sample=1,
        expected=arguments.expect, skipped=skipped, actor=intent.actor, at_us=at_us,
        intent_id=intent.id,
    )  # fmt: skip
    await replay_items.add(s, replay.id, [(recorded.id, found[0])])
    return _queued(replay)


async def _history(s: Session, service: str) -> list[int]:
    """The releases that a service's splits gave traffic to, by when they first did."""
    past = reversed(await services.history(s, service, _SPLITS))
    arms = [arm.release for split in past for arm in split.arms if arm.weight_bp > 0]
    return list(dict.fromkeys(arms))


async def _refuse(s: Session, release: Release, at_us: int) -> Decision | None:
    """Why a release cannot be asked; None if it can, or only has to load."""
    arms = (Arm(release=release.number, weight_bp=WHOLE_BP),)
    if refusal := loadable.refuse(arms, await loadable.broken(s, arms)):
        return refusal
    return await memory.refuse(s, arms, at_us)


async def _unrecorded(s: Session, request: Request) -> Decision | None:
    """Why a request cannot be asked again; None if it can."""
    if request.outcome not in _ENDED:
        said = f"{request.id} was {request.outcome.value} before it had an answer to compare with."
        return Decision(Reason.INVALID, said)
    text = await requests.text_of(s, request.id)
    if text is None:
        return Decision(
            Reason.INVALID,
            f"The text of {request.id} is not kept: it was not recorded, or has been deleted. "
            f"`paddock services set {request.service} --record-text` records those to come.",
        )
    if text.asked is None:
        return Decision(
            Reason.INVALID,
            f"{request.id} was recorded without its settings, by an earlier version of Paddock; "
            "requests that arrive from now on can be replayed.",
        )
    return None


def _queued(replay: Replay) -> Decision:
    said = f"Replay {replay.id} is queued as job {replay.job_id}."
    return Decision(Reason.QUEUED, said, replay)
