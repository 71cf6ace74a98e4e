"""Which services, workers, budgets and so on there are: an alert about one that was removed ends.

Reads only. Imported by `engine.control.alerts`.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage import budgets, deployments, processes, receivers, releases, services, upstreams
from storage.store import Session

Existing = Mapping[str, frozenset[str]]
"""By label, the values that name something there is."""


async def read(s: Session) -> Existing:
    """What there is, by the label that names it.

    A deployment is kept with its releases; it counts while a split asks for one of them or it has a
    process.
    """
    known = await processes.every(s)
    far = {each.name for each in await upstreams.every(s)}
    placed = await deployments.every(s)
    serving = await services.every(s)
    asked = {arm.release for each in serving for arm in each.split.arms}
    used = {each.deployment for each in await releases.every(s) if each.number in asked}
    used |= {each.deployment for each in known if each.deployment is not None}
    wanted = {name for each in placed if each.name in used for name in each.instances}
    return {
        "service": frozenset(each.name for each in serving),
        "deployment": frozenset(each.name for each in placed if each.name in used),
        "worker": frozenset({each.name for each in known} | far | wanted),
        "receiver": frozenset(each.name for each in await receivers.every(s)),
        "subject": frozenset(each.subject for each in await budgets.every(s)),
        "process": frozenset({each.name for each in known} | wanted),
    }
