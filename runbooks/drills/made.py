"""What a drill made that has to be removed: found in the store, also after a crash.

Everything has the drill's name or its reason. Reads only; imported by `runbooks.drills.site`.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage import alert_rule_versions, keys, releases, retired_releases, services, silences
from storage.store import Session


@dataclass(frozen=True, slots=True)
class Made:
    """What a drill has made and not removed yet, by name or number."""

    services: list[str]
    keys: list[str]
    releases: list[str]
    rules: list[str]
    silences: list[str]


async def own(s: Session, name: str, now_us: int) -> Made:
    """What a drill of this name made."""
    known = [each.name for each in await services.every(s) if each.name == name]
    prefix = f"{name}-"[:36]
    active = [each.name for each in (await keys.active(s)).values() if each.name.startswith(prefix)]
    retired = await retired_releases.every(s)
    made = [
        each.name
        for each in await releases.every(s)
        if each.comment == name and each.number not in retired
    ]
    rules = [each for each in await alert_rule_versions.in_force(s) if each == name]
    lasting = await silences.lasting(s, now_us)
    silent = [str(each.id) for each in lasting if each.comment == reason(name)]
    return Made(known, active, made, rules, silent)


def reason(name: str) -> str:
    """Why a drill asks for something."""
    return f"{name} (a drill)"
