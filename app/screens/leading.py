"""Leading a rollout from the screen: what may be offered, with its effect.

Pure functions of what is on the screen; control checks all of it again. Imported by the places that
show rollouts, and by the pulse and the traffic for their undo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app import snapshot
from app.screens.offered import Verb
from app.screens.place import Offer

VERBS: Final = (
    Verb("rollouts.promote", "f", "promote"),
    Verb("rollouts.promote_fully", "F", "promote fully"),
    Verb("rollouts.pause", "P", "pause"),
    Verb("rollouts.abort", "x", "abort"),
    Verb("rollouts.undo", "u", "undo"),
    Verb("rollouts.undo_to", "U", "undo to", "go back to the release of an earlier revision"),
    Verb("rollouts.retry", "R", "retry"),
)
"""What can be done with a rollout that there is."""
NAMES: Final = frozenset(verb.name for verb in VERBS)
_REVISION: Final = "revision, 0: before the first; enter shows the effect"


def offer(
    name: str,
    row: snapshot.RolloutRow | None,
    known: Sequence[snapshot.RolloutRow] = (),
    typed: str | None = None,
) -> Offer | None:
    """What an action would do to a rollout; None where it is about something else.

    `known` are the rollouts that are on the screen, for the release of a revision that is typed.
    """
    if name not in NAMES:
        return None
    if row is None:
        return Offer(unable="there is no rollout under the cursor")
    if name == "rollouts.undo_to":
        return _undo_to(row, known, typed)
    verb = name.removeprefix("rollouts.").replace("_", " ")
    if why := _unable(verb, row):
        return Offer(unable=why)
    step = "" if row.step is None else f", step {row.step}/{row.steps}"
    what = f"rollout {row.id} of {row.service} ({row.change}, {row.state}{step})"
    effect = {
        "promote": row.following,
        "promote fully": f"all traffic to {row.candidate} at once, without further steps",
        "pause": "it stays at its weights; harm still takes it back",
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


def _undo_to(
    row: snapshot.RolloutRow, known: Sequence[snapshot.RolloutRow], typed: str | None
) -> Offer:
    """Go back to a revision: at first the one under the cursor, or the one before the newest."""
    if typed is None:
        first = row.revision - 1 if row.newest else row.revision
        return Offer(form=str(max(first, 0)), hint=_REVISION)
    if not (typed.strip().isascii() and typed.strip().isdecimal()):
        return Offer(unable="type the number of a revision", form=typed, hint=_REVISION)
    revision = int(typed)
    past = {each.revision: each for each in (*known, row) if each.service == row.service}
    then = ""
    if found := past.get(max(revision, 1)):
        release = found.candidate if revision else found.stable
        then = f", {release or 'which had no release'}"
    return Offer(
        target=row.service,
        arguments={"to_revision": revision},
        effect=f"undo: {row.service} back to revision {revision}{then}, loaded first if it must be",
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
