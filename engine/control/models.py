"""Models: adding one is the work of a job, because a file may take hours to fetch and to hash.

Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import jobs
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session


@handles("models.add")
async def add(s: Session, intent: Intent, arguments: verbs.ModelsAdd, at_us: int) -> Decision:
    """Queue the job, which ends the intent when it ends."""
    job = await jobs.add(
        s,
        kind="add_model",
        target=f"{arguments.model}@{arguments.version}",
        arguments=intent.arguments,
        actor=intent.actor,
        intent_id=intent.id,
        at_us=at_us,
    )
    return Decision(Reason.QUEUED, f"Job {job.id} is queued.", job)
