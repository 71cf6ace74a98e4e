"""The staging of a service on the screen: which it is, and leading what it serves to production.

Pure functions of what is on the screen; control checks all of it again. Imported by the traffic
place.
"""

from __future__ import annotations

from collections.abc import Sequence

from app import snapshot
from app.screens.place import Offer
from app.widgets.palette import Line
from storage import splits
from storage.splits import WHOLE_BP


def said(service: snapshot.Service, services: Sequence[snapshot.Service]) -> list[Line]:
    """Whose staging a service is, or which service is its staging."""
    if service.staging_of:
        return [((" staging of ", "dim"), (service.staging_of, "bold"))]
    return [
        ((" staging ", "dim"), (each.name, "bold"), (f" serves {_served(each)}", ""))
        for each in services
        if each.staging_of == service.name
    ]


def promote(service: snapshot.Service, services: Sequence[snapshot.Service]) -> Offer:
    """Start a rollout of the production service to the release that its staging serves."""
    if not service.staging_of:
        return Offer(unable=f"{service.name} is the staging of no service")
    whole = _whole(service)
    if whole is None:
        return Offer(unable=f"{service.name} is split ({_served(service)}); set it to one release")
    production = next((each for each in services if each.name == service.staging_of), None)
    if production is not None:
        if kept := production.frozen or (production.owner and f"owned by {production.owner}"):
            return Offer(unable=f"{production.name} is {kept}")
        if _whole(production) == whole:
            return Offer(unable=f"r{whole} answers {production.name} already")
    effect = f"promote: a canary of {service.staging_of} to r{whole}, which {service.name} serves"
    return Offer(target=service.name, effect=effect)


def _whole(service: snapshot.Service) -> int | None:
    """The release that has all of the traffic."""
    arms = service.history[0].arms if service.history else ()
    return next((release for release, points in arms if points == WHOLE_BP), None)


def _served(service: snapshot.Service) -> str:
    whole = _whole(service)
    return f"r{whole}" if whole is not None else splits.words(service.history[0].arms)
