"""Leading a rollout from the screen: what may be offered, with its effect.

Pure functions of what is on the screen; control checks all of it again. Imported by the places that
show rollouts, and by the pulse and the traffic for their undo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app import snapshot
from app.screens.place import Offer

VERBS: Final = (
    ("rollouts.promote", "f", "promote"),
    ("rollouts.promote_fully", "F", "promote fully"),
    ("rollouts.pause", "P", "pause"),
    ("rollouts.abort", "x", "abort"),
    ("rollouts.undo", "u", "undo"),
    ("rollouts.retry", "R", "retry"),
)
"""What can be done with a rollout that there is: action, key, word."""
NAMES: Final = frozenset(name for name, _, _ in VERBS)


def offer(name: str, row: snapshot.RolloutRow | None) -> Offer | None:
    """What an action would do to a rollout; None where it is about something else."""
    if name not in NAMES:
        return None
    if row is None:
        return Offer(unable="there is no rollout under the cursor")
    verb = name.removeprefix("rollouts.").replace("_", " ")
    if why := _unable(verb, row):
        return Offer(unable=why)
    step = "" if row.step is None else f", step {row.step}/{row.steps}"
    what = f"rollout {row.id} of {row.service} ({row.change}, {row.state}{step})"
    effect = {
        "promote": row.following,
        "promote fully": f"all traffic to {row.candidate} at once, without further steps",
        "pause": "it stops before its next step; weights stay, harm is still looked for",
        "abort": f"all traffic back to {row.stable}",
        "undo": row.undo,
        "retry": "it begins again from its first step",
    }[verb]
    arguments: dict[str, object] = {"rollout": row.id}
    if name == "rollouts.promote_fully":
        arguments["full"] = True
    return Offer(
        target=row.service,
        arguments=arguments,
        expected_version=row.version if verb.startswith("promote") else None,
        effect=f"{verb} {what}: {effect}",
    )


def undo(latest: Sequence[snapshot.RolloutRow], service: str = "") -> Offer | None:
    """The undo of the rollout that a person means who names none, of one service or of all.

    Those under way come first. None where no rollout is to be undone: then an undo is about the
    split.
    """
    found = [each for each in latest if each.undo and service in {"", each.service}]
    found = [each for each in found if each.under_way] or found
    if not found:
        return None
    if len(found) > 1:
        known = ", ".join(each.service for each in found)
        return Offer(unable=f"several services have one ({known}): choose it in rollouts (r)")
    return offer("rollouts.undo", found[0])


def _unable(verb: str, row: snapshot.RolloutRow) -> str:
    """Why it cannot be done now; empty where it can."""
    if verb == "undo":
        return row.no_undo
    if verb == "retry":
        if row.state != "aborted":
            return f"rollout {row.id} is {row.state}; only an aborted one is retried"
        return "" if row.newest else f"{row.service} has had a newer rollout since"
    early = verb.startswith("promote") and not row.following
    if not row.under_way or (verb == "pause" and row.state == "paused"):
        return f"rollout {row.id} is {row.state}"
    return f"{row.candidate} has no traffic yet: it is {row.state}" if early else ""
