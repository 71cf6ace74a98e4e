"""API keys: only their hashes arrive here. Imported by `engine.control.handlers`."""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import keys
from storage.control_socket import verbs
from storage.intents import Intent
from storage.keys import Role
from storage.store import Session


@handles("keys.add")
async def add(s: Session, intent: Intent, arguments: verbs.keys.Add, at_us: int) -> Decision:
    """Store the hash of a key that was minted at its owner's terminal."""
    decision = decide(arguments.role, Role(intent.role))
    if decision.plan is None:
        return decision
    key = await keys.add(
        s,
        name=arguments.name,
        prefix=arguments.prefix,
        mac=arguments.mac or await keys.seal(s, arguments.sha256 or ""),
        role=arguments.role,
        tenant=arguments.tenant,
        synthetic=arguments.synthetic,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    kind = "synthetic " if key.synthetic else ""
    return Decision(Reason.APPLIED, f"Created {kind}key {key.name} ({key.prefix}…).", key)


@handles("keys.revoke")
async def revoke(s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Revoke a key for good."""
    key = await keys.revoke(s, intent.target, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    return Decision(Reason.APPLIED, f"Revoked key {key.name} ({key.prefix}…).", key)


@handles("keys.reset")
async def reset(s: Session, intent: Intent, _arguments: verbs.NoArguments, at_us: int) -> Decision:
    """Revoke all keys, and check those that are created from now on with a new pepper."""
    revoked = await keys.reset(s, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    noun = "key" if revoked == 1 else "keys"
    said = f"Revoked {revoked} active {noun}; create new ones with `paddock keys create`."
    return Decision(Reason.APPLIED, said, revoked)


def decide(wanted: Role, asker: Role) -> Decision:
    """Whether a role may create a key of another role: never of a higher one."""
    if not asker.may(wanted):
        said = f"Your role {asker} may not create a key of role {wanted}; ask an admin."
        return Decision(Reason.INVALID, said)
    return Decision(Reason.APPLIED, f"A key of role {wanted} may be created.", wanted)
