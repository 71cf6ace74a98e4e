"""Shifting a service's split from the screen: what may be offered, with its effect.

Pure functions of what is on the screen; control checks all of it again. Imported by the traffic
place.
"""

from __future__ import annotations

from collections.abc import Mapping

from app import snapshot, split_effect, split_input
from app.errors import BadWord
from app.screens.place import Offer
from storage import splits

Waits = Mapping[int, snapshot.Readiness]
"""The releases that would not answer at once."""


def undo(service: snapshot.Service, waits: Waits) -> Offer:
    """Go back to the split before the current one; never forth again."""
    target = splits.roll_back_target(service.history[:2])
    if target is None:
        return Offer(unable=f"{service.name} has had only one split")
    current = service.history[0]
    if splits.origin(current) == target:
        now = splits.words(current.arms)
        return Offer(unable=f"{service.name} is already back at {now}")
    before, after = dict(current.arms), dict(service.history[1].arms)
    if why := split_effect.refusal(waits, before, after):
        return Offer(unable=why)
    return Offer(
        target=service.name,
        arguments={"to": target},
        expected_version=service.version,
        effect=_effect("undo", service.name, before, after, waits),
    )


def split(service: snapshot.Service, typed: str | None, waits: Waits) -> Offer:
    """Set the weights that were typed; before anything is typed, the form."""
    if kept := service.frozen or (service.owner and f"owned by {service.owner}"):
        return Offer(unable=f"{service.name} is {kept}")
    before = dict(service.history[0].arms) if service.history else {}
    if typed is None:
        return Offer(form=splits.typed(before.items()))
    try:
        arms = split_input.parse(typed.replace(",", " ").split())
    except BadWord as error:
        return Offer(unable=str(error), form=typed)
    if named := [arm for arm in arms if not arm.startswith("r")]:
        return Offer(unable=f"{named[0]} is a hash; here releases go by number: r1", form=typed)
    after = {int(arm.removeprefix("r")): points for arm, points in arms.items()}
    same = "that is the current split" if after == before else ""
    if why := same or split_effect.refusal(waits, before, after):
        return Offer(unable=why, form=typed)
    return Offer(
        target=service.name,
        arguments={"arms": arms},
        expected_version=service.version,
        effect=_effect("split", service.name, before, after, waits),
    )


def _effect(
    verb: str, name: str, before: Mapping[int, int], after: Mapping[int, int], waits: Waits
) -> str:
    """What changes, and which of the arms that get more do not answer yet."""
    cautions = split_effect.cautions(waits, before, after)
    return " ▲ ".join([f"{verb}: {splits.change(name, before, after)}", *cautions])
