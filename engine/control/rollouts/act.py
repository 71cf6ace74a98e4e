"""The acts of a rollout, each in the one transaction of its caller: split, move, event, looks.

A crash leaves all of an act or none of it. Decides nothing; control's loop and the verbs of people
act alike. Imported by `engine.control.rollouts`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from engine.control.rollouts import webhooks
from engine.control.rollouts.decide import Do, Plan
from storage import held_releases, jobs, rollout_evidence, rollout_looks, rollouts, services
from storage.rollout_steps import Mirror, SetWeight, Webhook
from storage.rollouts import Rollout, State, Why
from storage.services import Arm, Split
from storage.splits import WHOLE_BP
from storage.store import Session

CONTROL: Final = "control"
SMOKE: Final = held_releases.SMOKE
"""The kind of job that asks a candidate its first requests."""
_AT_ONCE: Final = frozenset({Why.UNLOADABLE, Why.LATE})
_SECOND_US: Final = 1_000_000


async def carry_out(
    s: Session, plan: Plan, at_us: int, *, actor: str = CONTROL, intent_id: int | None = None
) -> None:
    """Do what was decided, on behalf of control or of the person who asked.

    Raises:
        Moved: the rollout is not as it was seen. Frozen, NotOwner: the split cannot be set.
    """
    if plan.looks:
        await rollout_looks.record(s, plan.rollout, plan.evidence, plan.looks)
    act = _Act(s, plan, at_us, actor, intent_id)
    match plan.do:
        case Do.SMOKE:
            await act.smoke()
        case Do.ENTER:
            await act.enter()
        case Do.HOLD:
            await act.move(State.PAUSED, resumes=None)
        case Do.ABORT:
            await act.abort()
        case Do.COMPLETE:
            await act.complete()
        case Do.RECORD:
            pass
        case Do.RECOUNT:
            ended = plan.rollout.ended_at_us or at_us
            again = await _impact(s, plan.rollout, ended, at_us)
            await rollouts.change(s, plan.rollout.id, impact=again)
        case Do.RELEASE | Do.FORGET:
            await act.release()


async def own(
    s: Session, rollout: Rollout, *, actor: str, at_us: int, intent_id: int | None
) -> None:
    """Take the split, with the candidate in it at weight 0, which has the node load it.

    Raises:
        Frozen, NotOwner: the split cannot be taken.
    """
    await services.take(
        s, service=rollout.service, owner=rollout.owner, actor=actor, at_us=at_us,
        intent_id=intent_id, undo=rollout.undoes is not None,
    )  # fmt: skip
    split = await _split(s, rollout, 0, actor, at_us, intent_id)
    await rollouts.change(s, rollout.id, base_split_id=split.id, split_id=split.id)


async def undo(
    s: Session, rollout: Rollout, sentence: str, *, actor: str, at_us: int, intent_id: int
) -> Rollout:
    """Go back from a completed rollout to its stable release, which is loaded: with one split."""
    split = await services.go_back(
        s, service=rollout.service, to=rollout.base_split_id or 0, actor=actor, at_us=at_us,
        intent_id=intent_id,
    )  # fmt: skip
    undone = await rollouts.move(
        s, rollout, State.UNDONE, Why.UNDONE, sentence, actor=actor, at_us=at_us,
        intent_id=intent_id, split_id=split.id, weight_bp=0,
        keep_until_us=at_us + rollout.rollback_window_s * _SECOND_US,
        impact=await _impact(s, rollout, at_us, at_us),
    )  # fmt: skip
    await webhooks.notify(s, undone, actor=actor, at_us=at_us)
    return undone


class _Act:
    """One act: the plan, when, and who carries it out."""

    def __init__(
        self, s: Session, plan: Plan, at_us: int, actor: str, intent_id: int | None
    ) -> None:
        self._s = s
        self._plan = plan
        self._rollout = plan.rollout
        self._at_us = at_us
        self._actor = actor
        self._intent_id = intent_id

    async def move(self, to: State, **changes: Any) -> None:
        """Move the rollout for the plan's reason; a question at its last step is withdrawn."""
        await webhooks.withdraw(self._s, self._rollout, actor=self._actor, at_us=self._at_us)
        moved = await rollouts.move(
            self._s, self._rollout, to, self._plan.why, self._plan.sentence, actor=self._actor,
            at_us=self._at_us, intent_id=self._intent_id, **changes,
        )  # fmt: skip
        await webhooks.notify(self._s, moved, actor=self._actor, at_us=self._at_us)

    async def smoke(self) -> None:
        """Queue the job that asks the candidate a few requests."""
        rollout = self._rollout
        job = await jobs.add(
            self._s,
            kind=SMOKE,
            target=f"r{rollout.candidate}",
            arguments={"release": rollout.candidate},
            actor=self._actor,
            at_us=self._at_us,
            max_failures=3,
        )
        await self.move(State.SMOKING, smoke_job_id=job.id)

    async def enter(self) -> None:
        """Begin a step, with its split if it sets a weight. A weight or a mirror counts afresh."""
        rollout, at = self._rollout, self._plan.step or 0
        step = rollout.steps[at]
        changes: dict[str, Any] = {
            "step": at, "step_began_us": self._at_us, "resumes": None, "webhook_job_id": None,
        }  # fmt: skip
        if isinstance(step, SetWeight):
            changes |= await self._weigh(step.weight_bp)
        elif isinstance(step, Mirror):
            changes["evidence"] = await rollout_evidence.begin(
                self._s, rollout, self._at_us, copies=True
            )
        elif isinstance(step, Webhook):
            job = await webhooks.ask(self._s, rollout, at, actor=self._actor, at_us=self._at_us)
            changes["webhook_job_id"] = job.id
        await self.move(State.STEPPING, **changes)

    async def _weigh(self, weight_bp: int) -> dict[str, Any]:
        rollout = self._rollout
        split = await _split(self._s, rollout, weight_bp, self._actor, self._at_us, self._intent_id)
        exposed = self._at_us if weight_bp else None
        return {
            "weight_bp": weight_bp,
            "split_id": split.id,
            "exposed_at_us": rollout.exposed_at_us or exposed,
            "evidence": await rollout_evidence.begin(self._s, rollout, self._at_us),
        }

    async def abort(self) -> None:
        """Back to the split before the candidate had traffic; it stays loaded for a while."""
        rollout, changes = self._rollout, dict[str, Any]()
        if self._plan.why is not Why.TAKEN:
            split = await services.go_back(
                self._s, service=rollout.service, to=rollout.base_split_id or 0,
                actor=self._actor, at_us=self._at_us, intent_id=self._intent_id,
            )  # fmt: skip
            await self._give_back()
            useless = self._plan.why in _AT_ONCE
            window_us = 0 if useless else rollout.rollback_window_s * _SECOND_US
            changes = {"split_id": split.id, "keep_until_us": self._at_us + window_us}
        changes["impact"] = await _impact(self._s, rollout, self._at_us, self._at_us)
        await self.move(State.ABORTED, weight_bp=0, resumes=None, **changes)

    async def complete(self) -> None:
        """All traffic to the candidate; the stable release stays loaded while undo may be near."""
        rollout = self._rollout
        changes = await self._weigh(WHOLE_BP) if rollout.weight_bp < WHOLE_BP else {}
        began = self._at_us
        if not changes:
            began = (await rollout_evidence.stored(self._s, rollout)).began_us
        keep_until = began + rollout.rollback_window_s * _SECOND_US
        if keep_until > self._at_us:
            changes["keep_until_us"] = keep_until
        else:
            split = await services.set_split(
                self._s, service=rollout.service,
                arms=[Arm(release=rollout.candidate, weight_bp=WHOLE_BP)],
                expected_version=None, actor=self._actor, at_us=self._at_us,
                intent_id=self._intent_id, by=rollout.owner, undo=rollout.undoes is not None,
            )  # fmt: skip
            changes["split_id"] = split.id
        await self._give_back()
        await self.move(State.COMPLETED, resumes=None, **changes)

    async def release(self) -> None:
        """Take the arm without traffic out of the split, unless the split is another one."""
        rollout = self._rollout
        changes: dict[str, Any] = {"keep_until_us": None}
        if self._plan.do is Do.RELEASE:
            service = await services.find(self._s, rollout.service)
            arms = [arm for arm in service.split.arms if arm.weight_bp]
            if len(arms) < len(service.split.arms):
                split = await services.set_split(
                    self._s, service=service.name, arms=arms, expected_version=None,
                    actor=self._actor, at_us=self._at_us,
                )  # fmt: skip
                changes["split_id"] = split.id
        await rollouts.change(self._s, rollout.id, **changes)

    async def _give_back(self) -> None:
        await services.give_back(
            self._s, service=self._rollout.service, owner=self._rollout.owner,
            actor=self._actor, at_us=self._at_us, intent_id=self._intent_id,
        )  # fmt: skip


async def _split(
    s: Session, rollout: Rollout, weight_bp: int, actor: str, at_us: int, intent_id: int | None
) -> Split:
    assert rollout.stable is not None  # noqa: S101 a first release has no steps
    arms = [
        Arm(release=rollout.stable, weight_bp=WHOLE_BP - weight_bp),
        Arm(release=rollout.candidate, weight_bp=weight_bp),
    ]
    return await services.set_split(
        s, service=rollout.service, arms=arms, expected_version=None, actor=actor, at_us=at_us,
        intent_id=intent_id, by=rollout.owner, undo=rollout.undoes is not None,
    )  # fmt: skip


async def _impact(s: Session, rollout: Rollout, ended_us: int, at_us: int) -> str | None:
    found = await rollout_evidence.impact(s, rollout, ended_us, at_us)
    return None if found is None else msgspec.json.encode(found).decode()
