"""What the requests of a service, an arm, a tenant or an instance did within a window.

Read from samples and their roll-ups, or counted from the requests themselves; `storage.measures`
makes figures of it. Imported by `storage.measures`, through which every package knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from storage import feedback, requests, rollups, tallies
from storage.samples import Kind
from storage.tallies import Tally

_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """Whole seconds since 1970, UTC, the first and the last included."""

    begin: int
    end: int

    @classmethod
    def last(cls, seconds: int, now: int) -> Window:
        """The last seconds up to the second `now`, which is included."""
        return cls(now - seconds + 1, now)

    @property
    def seconds(self) -> int:
        """How many seconds it has, at least one."""
        return max(self.end - self.begin + 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the requests of a scope did within `seconds`.

    `measured` is False where nothing was recorded in that time, not even that it was quiet.
    """

    tally: Tally
    seconds: float
    measured: bool


async def traffic(
    s: AsyncSession,
    window: Window,
    *,
    service: str | None = None,
    release: int | None = None,
    tenant: str | None = None,
    instance: str | None = None,
) -> Traffic:
    """The requests that ended in a window, narrowed to what is given.

    Services, releases and tenants come from samples and their roll-ups, however long the window
    (see `rollups.between` for its edges). An instance, a release of a tenant, and a tenant before
    requests were counted by tenant, are counted from the requests themselves, which takes time
    with their number.
    """
    if tenant is None and instance is None:
        arms = await by_arm(s, window, service=service)
        ending = None if release is None else f"/r{release}"
        return total(
            (each for key, each in arms.items() if ending is None or key.endswith(ending)), window
        )
    measured = bool(await by_arm(s, window, service=service))
    counted = (await rollups.mark(s)).tenants_since_s <= window.begin
    if tenant is not None and instance is None and release is None and counted:
        tenants = await by_tenant(s, window, service=service)
        found = [each.tally for key, each in tenants.items() if key.endswith(f"/{tenant}")]
        return Traffic(
            tally=tallies.total(found), seconds=window.seconds, measured=measured or bool(found)
        )
    tally = Tally()
    async for request in requests.ended(
        s, window.begin * _SECOND_US, (window.end + 1) * _SECOND_US,
        service=service, release=release, tenant=tenant, worker=instance,
    ):  # fmt: skip
        tally.count(request)
    given = await feedback.counts(
        s, window.begin * _SECOND_US, (window.end + 1) * _SECOND_US,
        service=service, tenant=tenant, worker=instance,
    )  # fmt: skip
    for (_, number), thumb in given.items():
        if release is None or number == release:
            tally.thumbs_up += thumb.up
            tally.thumbs_down += thumb.down
    return Traffic(tally=tally, seconds=window.seconds, measured=measured or tally.requests > 0)


async def by_arm(
    s: AsyncSession, window: Window, *, service: str | None = None
) -> dict[str, Traffic]:
    """The requests that ended in a window by arm (support/r14); only arms that were measured."""
    return await _by(s, Kind.ARM, window, service)


async def by_tenant(
    s: AsyncSession, window: Window, *, service: str | None = None
) -> dict[str, Traffic]:
    """The requests that ended in a window by service and tenant (support/acme)."""
    return await _by(s, Kind.TENANT, window, service)


async def _by(
    s: AsyncSession, kind: Kind, window: Window, service: str | None
) -> dict[str, Traffic]:
    prefix = "" if service is None else f"{service}/"
    found = await rollups.between(s, kind, window.begin, window.end, prefix)
    return {
        subject: Traffic(tally=tally, seconds=window.seconds, measured=True)
        for subject, tally in found.items()
    }


def total(parts: Iterable[Traffic], window: Window) -> Traffic:
    """The sum of scopes over the same window; it is measured if one of them is."""
    known = [part for part in parts if part.measured]
    return Traffic(
        tally=tallies.total(part.tally for part in known),
        seconds=window.seconds,
        measured=bool(known),
    )
