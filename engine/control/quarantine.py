"""Lifts the quarantine of templates.

Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import quarantine
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session


@handles("quarantine.lift")
async def lift(s: Session, intent: Intent, _: verbs.NoArguments, at_us: int) -> Decision:
    """The gateway runs the templates of a version again; one that still kills comes back."""
    lifted = await quarantine.lift(
        s, intent.target, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    said = f"The template of {intent.target} is tried again at the next request."
    return Decision(Reason.APPLIED, said, lifted)
