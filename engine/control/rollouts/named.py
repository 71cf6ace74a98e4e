"""The rollout that an intent names, and the sentences about it.

Changes nothing. Imported by the verbs of `engine.control.rollouts`.
"""

from __future__ import annotations

from engine.control.decisions import Reason, Refusal
from storage import rollouts
from storage.intents import Intent
from storage.rollouts import OPEN, Rollout, State
from storage.store import Session


async def find(s: Session, intent: Intent, id: int) -> Rollout:
    """The rollout that an intent names, which is one of its target."""
    rollout = await rollouts.find(s, id)
    if rollout.service != intent.target:
        said = f"Rollout {id} is one of {rollout.service}, not of {intent.target}."
        raise Refusal(Reason.UNKNOWN, said)
    return rollout


def require_open(rollout: Rollout) -> None:
    """Refuse a change of a rollout that has ended, with what can be done instead."""
    if rollout.state in OPEN:
        return
    advice = {
        State.ABORTED: "retry it with `paddock rollouts retry`",
        State.COMPLETED: "go back with `paddock rollouts undo`",
        State.UNDONE: "start a new one",
    }[rollout.state]
    said = f"{name(rollout)} is {rollout.state.value}: {rollout.sentence} To change it, {advice}."
    raise Refusal(Reason.MOVED, said)


def said(intent: Intent, what: str) -> str:
    """What a person did, with the reason, as a sentence."""
    reason = intent.reason.strip().rstrip(".")
    return f"{intent.actor} {what}: {reason}." if reason else f"{intent.actor} {what}."


def name(rollout: Rollout) -> str:
    """In a sentence: Rollout 3 of support."""
    return f"Rollout {rollout.id} of {rollout.service}"
