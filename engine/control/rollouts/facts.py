"""What the decision about one rollout rests on, read from the store. Writes nothing.

Imported by `engine.control.rollouts`.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.control.rollouts import judge
from storage import availability, errors, jobs, rollout_looks, services
from storage.availability import Availability
from storage.jobs import Job
from storage.rollout_looks import NO_EVIDENCE, Evidence, Look
from storage.rollouts import OPEN, Rollout
from storage.services import Service
from storage.store import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One rollout and its surroundings.

    `service` is None if it was removed. `smoke` is the job of the smoke requests. `evidence` is
    what was counted of the candidate up to now and `looks` what that means; `recorded` are the
    counts of the last look that was kept, at `looked_us`.
    """

    rollout: Rollout
    service: Service | None
    candidate: Availability
    smoke: Job | None = None
    evidence: Evidence = NO_EVIDENCE
    recorded: Evidence = NO_EVIDENCE
    looks: tuple[Look, ...] = ()
    looked_us: int = 0

    @property
    def owned(self) -> bool:
        """Whether the split is the rollout's, as it was set."""
        service, rollout = self.service, self.rollout
        return (
            service is not None
            and service.owner == rollout.owner
            and service.split.id == rollout.split_id
        )


async def read(s: Session, rollout: Rollout, now_us: int) -> Facts:
    """The facts of a rollout now."""
    able = await availability.every(s, [rollout.candidate])
    service = await find_service(s, rollout.service)
    if rollout.state not in OPEN:
        return Facts(rollout=rollout, service=service, candidate=able[rollout.candidate])
    evidence = recorded = Evidence()
    looked_us = 0
    if rollout.watched:
        recorded = await rollout_looks.stored(s, rollout)
        evidence = await rollout_looks.count(s, rollout)
        kept = await rollout_looks.newest(s, rollout)
        looked_us = max((look.at_us for look in kept), default=0)
    return Facts(
        rollout=rollout,
        service=service,
        candidate=able[rollout.candidate],
        smoke=await _job(s, rollout.smoke_job_id),
        evidence=evidence,
        recorded=recorded,
        looks=judge.looks(rollout, evidence, now_us),
        looked_us=looked_us,
    )


async def find_service(s: Session, name: str) -> Service | None:
    """The service, None if there is none of this name."""
    try:
        return await services.find(s, name)
    except errors.NotFound:
        return None


async def _job(s: Session, id: int | None) -> Job | None:
    if id is None:
        return None
    try:
        return await jobs.find(s, id)
    except errors.NotFound:
        return None
