"""What there is to draw of a rollout: one snapshot of the store, now or at a past moment.

Imported by `app.rollout_tree`, which draws it, and by `app.commands`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from app import words
from storage import (
    availability,
    errors,
    measures,
    online_scores,
    rollout_events,
    rollout_looks,
    rollout_waits,
    rollouts,
    services,
    shadow_figures,
)
from storage.availability import Availability
from storage.measures import Window
from storage.past import rollouts as past_rollouts
from storage.past import services as past_services
from storage.rollout_events import RolloutEvent
from storage.rollout_looks import Look
from storage.rollout_waits import Waiting
from storage.rollouts import Rollout, State
from storage.service_rows import Service
from storage.shadow_figures import Figures
from storage.store import Session

WINDOW_S: Final = 60
"""The last seconds in which the actual share of an arm is measured."""
_SECOND_US: Final = 1_000_000
_HOUR_S: Final = 3600


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """An arm: its weight, and its share of the service's requests of the last minute."""

    release: int
    role: str
    weight_bp: int
    requests: int
    actual: float | None
    between: tuple[float, float] | None


class StableBefore(msgspec.Struct, frozen=True, kw_only=True):
    """The stable release in the hour before the candidate had traffic, and in its last hour with.

    Shares of failed requests and µs; None where nothing was measured.
    """

    before_error_rate: float | None
    during_error_rate: float | None
    before_p95_us: float | None
    during_p95_us: float | None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All that is drawn of one rollout, at one moment."""

    rollout: Rollout
    phase: str
    arms: tuple[Share, ...]
    looks: tuple[Look, ...]
    waiting: Waiting
    events: tuple[RolloutEvent, ...]
    shadow: Figures | None
    before: StableBefore | None
    at_us: int


async def read(s: Session, rollout: Rollout, now_us: int) -> View:
    """What there is to draw of a rollout now."""
    service = await _service(s, rollout.service)
    able: Availability = (await availability.every(s, [rollout.candidate]))[rollout.candidate]
    looks = await rollout_looks.newest(s, rollout)
    behind_us = await online_scores.behind_us(s, rollout.service, now_us)
    return View(
        rollout=rollout,
        phase=rollout.phase.value,
        arms=() if service is None else await _arms(s, rollout, service, now_us),
        looks=tuple(looks),
        waiting=rollout_waits.of(rollout, service, able, looks, now_us, behind_us),
        events=tuple(await rollout_events.of(s, rollout.id)),
        shadow=await shadow_figures.of(s, rollout),
        before=await _before(s, rollout, now_us),
        at_us=now_us,
    )


async def read_at(s: Session, id: int, known: Sequence[Service], at_us: int) -> View:
    """What there was to draw of a rollout at a past moment; `known` are the services at that time.

    What it waited for is what its last move says, and copies of a shadow are not told: both are
    known as they are now alone.

    Raises:
        NotFound: it had not been started.
    """
    rollout = await past_rollouts.find(s, id, at_us)
    service = next((each for each in known if each.name == rollout.service), None)
    looks = await rollout_looks.newest(s, rollout, until_us=at_us)
    return View(
        rollout=rollout,
        phase=rollout.phase.value,
        arms=() if service is None else await _arms(s, rollout, service, at_us),
        looks=tuple(looks),
        waiting=Waiting(for_=rollout_waits.For.NOTHING, sentence=rollout.sentence),
        events=tuple(await past_rollouts.events_of(s, id, at_us)),
        shadow=None,
        before=await _before(s, rollout, at_us),
        at_us=at_us,
    )


async def tail(s: Session, limit: int, service: str | None, at_us: int | None) -> list[Rollout]:
    """The newest rollouts, newest first, as they are or were at a past moment."""
    if at_us is None:
        return await rollouts.tail(s, limit, service=service)
    return await past_rollouts.tail(s, at_us, limit, service=service)


async def read_latest_at(s: Session, service: str, at_us: int) -> View:
    """The newest rollout that a service had had.

    Raises:
        NotFound: it had had none.
    """
    found = await past_rollouts.latest(s, service, at_us)
    if found is None:
        raise errors.NotFound(f"{service} had no rollout at {words.clock(at_us)}.")
    return await read_at(s, found.id, await past_services.every(s, at_us), at_us)


async def _before(s: Session, rollout: Rollout, now_us: int) -> StableBefore | None:
    """Stable before and during; None where the candidate has had no traffic beside it."""
    if rollout.exposed_at_us is None or rollout.stable is None:
        return None
    exposed = rollout.exposed_at_us // _SECOND_US
    end = (rollout.ended_at_us or now_us) // _SECOND_US
    windows = Window(exposed - _HOUR_S, exposed - 1), Window(max(exposed, end - _HOUR_S), end)
    before, during = [
        await measures.traffic(s, window, service=rollout.service, release=rollout.stable)
        for window in windows
    ]
    return StableBefore(
        before_error_rate=measures.error_rate(before),
        during_error_rate=measures.error_rate(during),
        before_p95_us=measures.latency(before, 0.95),
        during_p95_us=measures.latency(during, 0.95),
    )


async def _service(s: Session, name: str) -> Service | None:
    try:
        return await services.find(s, name)
    except errors.NotFound:
        return None


async def _arms(s: Session, rollout: Rollout, service: Service, now_us: int) -> tuple[Share, ...]:
    window = Window.last(WINDOW_S, now_us // _SECOND_US)
    by_arm = await measures.by_arm(s, window, service=service.name)
    whole = measures.total(by_arm.values(), window)
    roles = {rollout.stable: "stable", rollout.candidate: "candidate"}
    if rollout.state is State.COMPLETED:
        roles = {rollout.stable: "before", rollout.candidate: "stable"}
    shares = []
    for arm in service.split.arms:
        part = by_arm.get(f"{service.name}/r{arm.release}", measures.total((), window))
        shares.append(
            Share(
                release=arm.release,
                role=roles.get(arm.release, "other"),
                weight_bp=arm.weight_bp,
                requests=part.tally.requests,
                actual=measures.share(part, whole),
                between=measures.share_interval(part, whole),
            )
        )
    return tuple(shares)
