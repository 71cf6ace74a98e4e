"""The candidate beside the stable release: events by blocks of time, durations, units of each arm.

Requests belong to the block in which they arrived. A block is counted once, a minute after its end,
so that its requests have ended; one that takes longer is left out, of both arms alike. Never
judges and writes nothing. Read by `engine.control` and by the tree of a rollout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from storage import rollout_evidence
from storage.requests import UNNAMED, Class, Outcome
from storage.rollout_evidence import EXECUTED, REQUESTS, Block, Evidence
from storage.rollouts import Rollout

GRACE_US: Final = 60 * 1_000_000
MOST_BLOCKS: Final = 60  # counted at one look: a control that was away for long catches up
MOST_VALUES: Final = 5_000
_MINUTE_US: Final = 60 * 1_000_000
_LENGTHS: Final = ((60, _MINUTE_US), (204, 10 * _MINUTE_US), (10**6, 60 * _MINUTE_US))
"""Up to which number of blocks each is how long: minutes in the first hour, hours after a day."""


class Durations(msgspec.Struct, frozen=True):
    """Prompt tokens and microseconds of requests that were answered in full."""

    candidate: tuple[tuple[int, int], ...] = ()
    stable: tuple[tuple[int, int], ...] = ()


async def extend(s: AsyncSession, rollout: Rollout, evidence: Evidence, now_us: int) -> Evidence:
    """The evidence with the blocks that have ended since."""
    blocks = list(evidence.blocks)
    until = now_us - GRACE_US
    while len(blocks) < len(evidence.blocks) + MOST_BLOCKS:
        begin_us = evidence.began_us + _offset(len(blocks))
        end_us = evidence.began_us + _offset(len(blocks) + 1)
        if end_us > until:
            break
        blocks.append(await _block(s, rollout, begin_us, end_us))
    return msgspec.structs.replace(evidence, blocks=tuple(blocks))


async def durations(s: AsyncSession, rollout: Rollout, began_us: int) -> Durations:
    """The latencies of both arms since a moment, at most 5000 of each, spread over that time."""
    request = REQUESTS.c
    found = []
    for release in (rollout.candidate, rollout.stable):
        mine = (
            request.at_us >= began_us,
            request.service == rollout.service,
            request.release == release,
            request["class"] != Class.BACKGROUND.value,
            request.outcome == Outcome.OK.value,
        )
        count = (await s.execute(select(func.count()).where(*mine))).scalar() or 0
        every = count // MOST_VALUES + 1
        query = select(request.prompt_tokens, request.latency_us)
        rows = await s.execute(query.where(*mine, request.number.op("%")(every) == 0))
        found.append(tuple((row[0], row[1]) for row in rows))
    return Durations(*found)


async def units(s: AsyncSession, rollout: Rollout, began_us: int) -> Mapping[int, int]:
    """How many units the split gave each arm since a moment: users, sessions, single requests."""
    request = REQUESTS.c
    named = func.nullif(request.unit, UNNAMED)
    query = (
        select(
            request.release,
            func.count(named.distinct()) + rollout_evidence.counted(request.unit == UNNAMED),
        )
        .where(
            request.at_us >= began_us,
            request.service == rollout.service,
            request.release.in_((rollout.candidate, rollout.stable)),
            request["class"] != Class.BACKGROUND.value,
            request.unit.is_not(None),
        )
        .group_by(request.release)
    )
    return {int(row[0]): int(row[1]) for row in await s.execute(query)}


async def _block(s: AsyncSession, rollout: Rollout, begin_us: int, end_us: int) -> Block:
    request = REQUESTS.c
    events = [
        rollout_evidence.counted(rollout_evidence.event(guard))
        for guard in rollout.guards
        if guard.measure in rollout_evidence.OF_REQUESTS
    ]
    query = (
        select(request.release, func.count(), *events)
        .where(
            request.at_us >= begin_us,
            request.at_us < end_us,
            request.service == rollout.service,
            request.release.in_((rollout.candidate, rollout.stable)),
            request["class"] != Class.BACKGROUND.value,
            request.outcome.in_(EXECUTED),
        )
        .group_by(request.release)
    )
    arms = {int(row[0]): (int(row[1]), tuple(map(int, row[2:]))) for row in await s.execute(query)}
    none = (0, (0,) * len(events))
    candidate, stable = arms.get(rollout.candidate, none), arms.get(rollout.stable or 0, none)
    return Block(candidate[0], stable[0], candidate[1], stable[1])


def _offset(number: int) -> int:
    """When the block with this number begins, after the first."""
    begun, before = 0, 0
    for until, length in _LENGTHS:
        begun += (min(number, until) - before) * length
        before = until
        if number <= until:
            break
    return begun
