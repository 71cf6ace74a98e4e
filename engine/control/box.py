"""The whole box: frozen against changes of what answers requests, and unfrozen.

Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import freezes
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session


@handles("box.freeze")
async def freeze(s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Refuse changes of all services from now on, except rollbacks."""
    await freezes.freeze_box(
        s, reason=intent.reason, actor=intent.actor, at_us=at_us, intent_id=intent.id
    )
    said = "Froze the box: no split changes, no rollout or A/B test begins or goes forward."
    return Decision(Reason.APPLIED, f"{said} `paddock unfreeze` allows it again.", intent)


@handles("box.unfreeze")
async def unfreeze(
    s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int
) -> Decision:
    """Allow changes again; services that were frozen individually stay frozen."""
    before = await freezes.unfreeze_box(s, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    if before is None:
        return Decision(Reason.UNCHANGED, "The box is not frozen; no change.", intent)
    return Decision(Reason.APPLIED, f"Unfroze the box; it was {before.words}.", intent)
