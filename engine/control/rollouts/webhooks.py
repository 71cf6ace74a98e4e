"""The messages of a rollout: a question at a webhook step, and news at each pause and end.

A message is a job, queued in the transaction of the move that it is about, under a unique id: after
a crash the same message is sent again, never a second one. News delay nothing: an abort or an undo
does not wait for them. Imported by `engine.control.rollouts`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from storage import jobs, rollout_looks, rollout_steps, rollout_webhooks
from storage.job_rows import OPEN
from storage.jobs import Job
from storage.rollout_looks import Look
from storage.rollout_steps import Webhook
from storage.rollout_webhooks import Message
from storage.rollouts import Rollout, State
from storage.store import Session

NEWS: Final = frozenset({State.PAUSED, State.ABORTED, State.COMPLETED, State.UNDONE})
"""The states that a rollout notifies of."""


async def ask(s: Session, rollout: Rollout, at: int, *, actor: str, at_us: int) -> Job:
    """Queue the question of step `at`, to be entered by a rollout that is at the step before."""
    step = rollout.steps[at]
    assert isinstance(step, Webhook)  # noqa: S101 as it was decided
    following = next(
        (each for each in rollout.steps[at + 1 :] if not isinstance(each, Webhook)), None
    )
    looks = await rollout_looks.newest(s, rollout)
    body = {
        "type": "rollout.question",
        **_about(rollout, at_us),
        "step": at + 1,
        "next": "complete" if following is None else rollout_steps.words(following),
        "guards": [_guard(look) for look in looks],
    }
    return await _queue(s, rollout, f"step-{at + 1}", step.url, body, actor=actor, at_us=at_us)


async def notify(s: Session, rollout: Rollout, *, actor: str, at_us: int) -> None:
    """Queue the news of a move that paused or ended the rollout."""
    if rollout.state not in NEWS:
        return
    body = {
        "type": f"rollout.{rollout.state.value}",
        **_about(rollout, at_us),
        "step": None if rollout.step is None else rollout.step + 1,
        "why": rollout.why.value,
        "sentence": rollout.sentence,
        "actor": actor,
    }
    for number, url in enumerate(rollout.notify, 1):
        occasion = f"version-{rollout.version}-to-{number}"
        await _queue(s, rollout, occasion, url, body, actor=actor, at_us=at_us)


async def withdraw(s: Session, rollout: Rollout, *, actor: str, at_us: int) -> None:
    """Cancel the unanswered question of a rollout that leaves its step."""
    found = await rollout_webhooks.asked(s, rollout.webhook_job_id)
    if found is not None and found.job.state in OPEN - {jobs.State.CANCELLING}:
        await jobs.cancel(s, found.job.id, actor=actor, at_us=at_us)


async def _queue(
    s: Session,
    rollout: Rollout,
    occasion: str,
    url: str,
    body: dict[str, Any],
    *,
    actor: str,
    at_us: int,
) -> Job:
    message = Message(
        id=f"rollout-{rollout.id}-attempt-{rollout.attempt}-{occasion}",
        url=url,
        secret=rollout.webhook_secret,
        body=body,
    )
    return await jobs.add(
        s,
        kind=rollout_webhooks.JOB,
        target=rollout.service,
        arguments=msgspec.to_builtins(message),
        actor=actor,
        at_us=at_us,
    )


def _about(rollout: Rollout, at_us: int) -> dict[str, Any]:
    return {
        "at_us": at_us,
        "service": rollout.service,
        "rollout": rollout.id,
        "revision": rollout.revision,
        "attempt": rollout.attempt,
        "strategy": rollout.strategy.value,
        "stable": None if rollout.stable is None else f"r{rollout.stable}",
        "candidate": f"r{rollout.candidate}",
        "weight_bp": rollout.weight_bp,
        "steps": len(rollout.steps),
    }


def _guard(look: Look) -> dict[str, Any]:
    return {
        "guard": look.guard,
        "verdict": look.verdict.value,
        "requests": look.n,
        "events": look.events,
    }
