"""Jobs: cancelled and retried on behalf of people. Imported by `engine.control.handlers`."""

from __future__ import annotations

import re
from typing import Final

from engine.control.decisions import Decision, Reason, Refusal
from engine.control.handlers import handles
from storage import jobs
from storage.control_socket import verbs
from storage.intents import Intent
from storage.jobs import Job, State
from storage.store import Session

_NUMBER: Final = re.compile("[0-9]{1,18}")


@handles("jobs.cancel")
async def cancel(s: Session, intent: Intent, arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Cancel a waiting job at once; a running one cleans up first."""
    del arguments
    job = await _named(s, intent)
    if job.state is State.CANCELLING:
        return Decision(Reason.UNCHANGED, f"Job {job.id} is being cancelled already.", job)
    job = await jobs.cancel(s, job.id, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    how = "is cancelled" if job.state is State.CANCELLED else "is being cancelled"
    return Decision(Reason.APPLIED, f"Job {job.id} ({_about(job)}) {how}.", job)


@handles("jobs.retry")
async def retry(s: Session, intent: Intent, arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Queue a failed or cancelled job again, from its first step."""
    del arguments
    job = await _named(s, intent)
    job = await jobs.retry(s, job.id, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    return Decision(Reason.APPLIED, f"Job {job.id} ({_about(job)}) is queued again.", job)


def _about(job: Job) -> str:
    return f"{job.kind} {job.target}"


async def _named(s: Session, intent: Intent) -> Job:
    if _NUMBER.fullmatch(intent.target) is None:
        raise Refusal(
            Reason.UNKNOWN, f"{intent.target!r} is not a job's number; see `paddock jobs list`."
        )
    return await jobs.find(s, int(intent.target))
