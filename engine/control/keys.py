"""API keys: only their hashes arrive here. Imported by `engine.control.registry`."""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.registry import controls
from storage import keys
from storage.control_socket import verbs
from storage.intents import Intent
from storage.keys import Role
from storage.store import Session


@controls("keys.add")
async def add(s: Session, intent: Intent, arguments: verbs.KeysAdd, at_us: int) -> Decision:
    """Keep the hash of a key that was minted where its owner sits."""
    decision = decide(arguments.role, Role(intent.role))
    if decision.plan is None:
        return decision
    key = await keys.add(
        s,
        name=arguments.name,
        prefix=arguments.prefix,
        sha256=arguments.sha256,
        role=arguments.role,
        tenant=arguments.tenant,
        synthetic=arguments.synthetic,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    kind = "synthetic " if key.synthetic else ""
    return Decision(Reason.APPLIED, f"The {kind}key {key.name} ({key.prefix}…) is valid.", key)


@controls("keys.revoke")
async def revoke(s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int) -> Decision:
    """From now on the key opens nothing."""
    key = await keys.revoke(s, intent.target, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    return Decision(Reason.APPLIED, f"The key {key.name} ({key.prefix}…) is revoked.", key)


def decide(wanted: Role, asker: Role) -> Decision:
    """Nobody hands out more than they have."""
    if not asker.may(wanted):
        said = f"A key of role {wanted} is more than your own role {asker}; ask an admin."
        return Decision(Reason.INVALID, said)
    return Decision(Reason.APPLIED, f"A key of role {wanted} may be given.", wanted)
