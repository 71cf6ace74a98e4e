"""What the decision about one rollout rests on, read from the store. Writes nothing.

Imported by `engine.control.rollouts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.control.rollouts import before, compare, judge
from storage import (
    availability,
    errors,
    jobs,
    online_scores,
    rollout_baselines,
    rollout_contrasts,
    rollout_evidence,
    rollout_looks,
    rollout_waits,
    rollout_webhooks,
    services,
)
from storage.availability import Availability
from storage.jobs import Job
from storage.rollout_evidence import NO_EVIDENCE, Evidence
from storage.rollout_looks import Look
from storage.rollout_steps import Analysis, Mirror
from storage.rollout_webhooks import Asked
from storage.rollouts import OPEN, Rollout
from storage.services import Service
from storage.store import Session

_SILENT_BLOCKS: Final = 10
"""How many blocks without a request of the candidate are kept, to avoid counting them again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One rollout and its surroundings.

    `service` is None if it was removed. `smoke` is the job of the smoke requests, `webhook` the
    question that a step asks. `evidence` is
    what was counted of the candidate up to now and `looks` what that means; `recorded` are the
    counts of the last look that was kept, at `looked_us`. `ends` are those of the looks that are
    taken once the guards hold: latency against stable, stable against before, the sample ratio.
    """

    rollout: Rollout
    service: Service | None
    candidate: Availability
    smoke: Job | None = None
    webhook: Asked | None = None
    evidence: Evidence = NO_EVIDENCE
    recorded: Evidence = NO_EVIDENCE
    looks: tuple[Look, ...] = ()
    ends: tuple[Look, ...] = ()
    looked_us: int = 0
    scores_behind_us: int = 0

    @property
    def news(self) -> bool:
        """Whether the looks saw anything that is not kept yet."""
        before, now = self.recorded, self.evidence
        fresh = now.blocks[len(before.blocks) :]
        answered = any(block.candidate_n for block in fresh)
        scored = before.scored != now.scored
        return before.counts != now.counts or scored or answered or len(fresh) >= _SILENT_BLOCKS

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
    service = await services.look_up(s, rollout.service)
    if rollout.state not in OPEN:
        return Facts(rollout=rollout, service=service, candidate=able[rollout.candidate])
    evidence = recorded = Evidence()
    looked_us = 0
    if rollout.watched:
        recorded = await rollout_evidence.stored(s, rollout)
        evidence = await rollout_evidence.count(s, rollout)
        if compare.compared(rollout):
            evidence = await rollout_contrasts.extend(s, rollout, evidence, now_us)
        kept = await rollout_looks.newest(s, rollout)
        looked_us = max((look.at_us for look in kept), default=0)
    looks = judge.looks(rollout, evidence, now_us) + compare.rates(rollout, evidence, now_us)
    ends = await _ends(s, rollout, evidence, looks, now_us)
    return Facts(
        rollout=rollout,
        service=service,
        candidate=able[rollout.candidate],
        smoke=await _job(s, rollout.smoke_job_id),
        webhook=await rollout_webhooks.asked(s, rollout.webhook_job_id),
        evidence=evidence,
        recorded=recorded,
        looks=looks + ends,
        ends=ends,
        looked_us=looked_us,
        scores_behind_us=await online_scores.behind_us(s, rollout.service, now_us),
    )


async def _ends(
    s: Session, rollout: Rollout, evidence: Evidence, looks: tuple[Look, ...], now_us: int
) -> tuple[Look, ...]:
    """The looks that are taken once, when the guards hold and the step is about to end."""
    ends = isinstance(rollout.current, Analysis | Mirror) and rollout_waits.passed(rollout, looks)
    if not ends:
        return ()
    found: tuple[Look, ...] = ()
    if before.compared(rollout):
        baseline = await rollout_baselines.of(s, rollout, evidence.began_us, now_us)
        found += before.looks(rollout, baseline, now_us)
    if compare.compared(rollout):
        seen = await rollout_contrasts.durations(s, rollout, evidence.began_us)
        units = await rollout_contrasts.units(s, rollout, evidence.began_us)
        found += compare.latency(rollout, seen, now_us)
        found += (compare.ratio(rollout, units, now_us),)
    return found


async def _job(s: Session, id: int | None) -> Job | None:
    if id is None:
        return None
    try:
        return await jobs.find(s, id)
    except errors.NotFound:
        return None
