"""Shifting a service's split from the screen: what may be offered, with its effect.

Pure functions of what is on the screen; control checks all of it again. Imported by the traffic
place.
"""

from __future__ import annotations

from app import snapshot, split_input
from app.errors import BadWord
from app.screens.place import Offer
from storage import splits


def undo(service: snapshot.Service) -> Offer:
    """Go back to the split before the current one; never forth again."""
    target = splits.roll_back_target(service.history[:2])
    if target is None:
        return Offer(unable=f"{service.name} has had one split only")
    current = service.history[0]
    if splits.origin(current) == target:
        return Offer(unable=f"{service.name} is already back at split {target}")
    effect = splits.change(service.name, dict(current.arms), dict(service.history[1].arms))
    return Offer(
        target=service.name,
        arguments={"to": target},
        expected_version=service.version,
        effect=f"undo: {effect}",
    )


def split(service: snapshot.Service, typed: str | None) -> Offer:
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
    if after == before:
        return Offer(unable="that is the current split", form=typed)
    return Offer(
        target=service.name,
        arguments={"arms": arms},
        expected_version=service.version,
        effect=f"split: {splits.change(service.name, before, after)}",
    )
