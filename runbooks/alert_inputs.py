"""Which inputs of a runbook an alert fills in: its labels, and what follows from them.

An alert about a worker or a process is about its deployment, and one about a deployment is about
the service that it computes for, if that is one alone. Reads only. Imported by `runbooks` and
`app`.
"""

from __future__ import annotations

from storage import alerts, releases, samples, services
from storage.alerts import Alert
from storage.store import Session


async def of_number(s: Session, number: int) -> dict[str, str]:
    """What the alert with this number is about.

    Raises:
        NotFound: there is none.
    """
    return await of(s, await alerts.find(s, number))


async def of(s: Session, alert: Alert) -> dict[str, str]:
    """What an alert is about, by the names that inputs of runbooks have."""
    found = dict(alert.about)
    instance = found.get("worker") or found.get("process")
    if instance is not None:
        found.setdefault("deployment", samples.deployment(instance))
    if "service" not in found and "deployment" in found:
        service = await _service(s, found["deployment"])
        if service is not None:
            found["service"] = service
    return found


async def _service(s: Session, deployment: str) -> str | None:
    """The only service that a deployment computes for."""
    computed = {each.number for each in await releases.every(s) if each.deployment == deployment}
    found = [
        each.name
        for each in await services.every(s)
        if any(arm.release in computed and arm.weight_bp for arm in each.split.arms)
    ]
    return found[0] if len(found) == 1 else None
