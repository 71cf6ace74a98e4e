"""Live knobs of deployments: the value is stored here, the gateway hands it to the workers.

Imported by `engine.control.handlers`.
"""

from __future__ import annotations

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import knobs
from storage.control_socket import verbs
from storage.intents import Intent
from storage.store import Session


@handles("knobs.set")
async def set(s: Session, intent: Intent, arguments: verbs.knobs.Set, at_us: int) -> Decision:
    """Set a knob; the value before is kept for undo."""
    before = (await knobs.of(s, intent.target)).get(arguments.name)
    if before == arguments.value:
        said = f"{intent.target}: {arguments.name} is already {arguments.value}; no change."
        return Decision(Reason.UNCHANGED, said, before)
    knob = await knobs.set(
        s,
        deployment=intent.target,
        name=arguments.name,
        value=arguments.value,
        expected_version=intent.expected_version,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    return Decision(Reason.APPLIED, _outcome(knob), knob)


@handles("knobs.undo")
async def undo(s: Session, intent: Intent, arguments: verbs.knobs.Undo, at_us: int) -> Decision:
    """Undo one setting of a knob; asked again, it changes nothing."""
    before = await knobs.current(s, intent.target, arguments.name)
    setting = arguments.setting
    if setting is None:
        setting = await knobs.of_intent(s, intent.target, arguments.name, arguments.intent or 0)
    knob = await knobs.undo(
        s,
        deployment=intent.target,
        name=arguments.name,
        setting=setting,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    if before is not None and before.id == knob.id:
        said = f"{knob.deployment}: {knob.name} is already back at {knob.value}; no change."
        return Decision(Reason.UNCHANGED, said, knob)
    return Decision(Reason.APPLIED, _outcome(knob), knob)


def _outcome(knob: knobs.Knob) -> str:
    return f"{knob.deployment}: {knob.name} is {knob.value} (before: {knob.previous})."
