"""Shifting a service's split from the screen: what may be offered, with its effect.

Pure functions of what is on the screen; the door checks all of it again. Imported by the traffic
place.
"""

from __future__ import annotations

from app import snapshot, splits
from app.errors import BadWord
from app.screens.place import Offer


def undo(service: snapshot.Service) -> Offer:
    """Put back the split before the one that stands."""
    if len(service.history) < 2:  # noqa: PLR2004 this split and the one before
        return Offer(unable=f"{service.name} has had one split only")
    standing, before = service.history[:2]
    effect = splits.change(service.name, dict(standing.arms), dict(before.arms))
    return Offer(target=service.name, expected_version=service.version, effect=f"undo: {effect}")


def split(service: snapshot.Service, typed: str | None) -> Offer:
    """Set the weights that were typed; before anything is typed, the form."""
    before = dict(service.history[0].arms) if service.history else {}
    if typed is None:
        return Offer(form=splits.typed(before.items()))
    try:
        arms = splits.parse(typed.replace(",", " ").split())
    except BadWord as error:
        return Offer(unable=str(error), form=typed)
    if named := [arm for arm in arms if not arm.startswith("r")]:
        return Offer(unable=f"{named[0]} is a hash; here releases go by number: r1", form=typed)
    after = {int(arm.removeprefix("r")): points for arm, points in arms.items()}
    if after == before:
        return Offer(unable="that is the split that stands", form=typed)
    return Offer(
        target=service.name,
        arguments={"arms": arms},
        expected_version=service.version,
        effect=f"split: {splits.change(service.name, before, after)}",
    )
