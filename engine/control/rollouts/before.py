"""Compares the stable release since the candidate has requests with the time before the rollout.

Pure. Arms on one box disturb each other: a candidate that takes stable's memory, cores or GPU slows
both arms alike, so comparing the arms does not show it. Stable is therefore also compared with
itself before, by medians of short blocks of time and for prompts of similar length, once, at the
end of a weight or of a mirror. A drift that had begun before is not blamed on the candidate, and if
the service got busier nothing is concluded. Imported by `engine.control.rollouts`.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Final

from engine.control.rollouts import judge, lengths
from engine.control.rollouts.compare import LEAST_SHIFT
from engine.judging import drift, errors, shift, verdict
from engine.judging.drift import Stretch
from storage.rollout_baselines import Baseline, Timed
from storage.rollout_evidence import Count
from storage.rollout_looks import Look, Verdict
from storage.rollouts import Rollout
from storage.splits import WHOLE_BP

NAME: Final = "stable against before"
BLOCK_US: Final = 5_000_000
"""Requests that arrive this close together wait in the same queue and count as one value."""
BUSIER: Final = 1.25
"""How many times the requests per second of before are too many to compare latencies."""
_SECOND_US: Final = 1_000_000


def compared(rollout: Rollout) -> bool:
    """Whether the stable release has traffic while the candidate gets requests, or copies."""
    return rollout.watched and rollout.stable is not None and rollout.weight_bp < WHOLE_BP


def looks(rollout: Rollout, seen: Baseline, at_us: int) -> tuple[Look, ...]:
    """A look at each class of prompts of which there are blocks enough, before and since."""
    if seen.since_per_s > BUSIER * seen.before_per_s > 0:
        said = f"{seen.before_per_s:.3g} requests/s before, {seen.since_per_s:.3g} since"
        said = f"{NAME}: not compared, the service is busier: {said}"
        return (judge.made(rollout, NAME, Count(), at_us, verdict=Verdict.RUNNING, sentence=said),)
    middle_us = (seen.begin_us + seen.end_us) // 2
    stretches = {}
    for length in lengths.CLASSES:
        before = _blocks(seen.before, length)
        parts = (
            _stretch([each for each in before if each[0] < middle_us]),
            _stretch([each for each in before if each[0] >= middle_us]),
            _stretch(_blocks(seen.since, length)),
        )
        if all(part is not None for part in parts):
            stretches[length] = [part for part in parts if part is not None]
    alpha = judge.level(rollout.guards, rollout.steps) / max(len(stretches), 1)
    return tuple(
        _look(rollout, length, *parts, alpha=alpha, at_us=at_us)
        for length, parts in stretches.items()
    )


def _look(
    rollout: Rollout,
    length: int,
    earlier: Stretch,
    later: Stretch,
    since: Stretch,
    *,
    alpha: float,
    at_us: int,
) -> Look:
    name = f"{NAME}, prompts {lengths.words(length)}"
    least = LEAST_SHIFT * statistics.median(later.values)
    count = Count(len(since.values), 0)
    try:
        found = drift.compare(earlier, later, since, least=least, alpha=alpha)
    except errors.CannotJudge as error:
        said = f"{name}: {error}"
        return judge.made(rollout, name, count, at_us, verdict=Verdict.ERROR, sentence=said)
    low, high = found.shift.interval
    state = Verdict.HOLDS if high <= least else Verdict.RUNNING
    return judge.made(
        rollout, name, count, at_us, low=low, high=high, needed=found.shift.needed,
        verdict=Verdict.HARM if found.worse else state,
        sentence=verdict.since(f"r{rollout.stable} {name}", found, "ms").sentence,
    )  # fmt: skip


def _blocks(values: tuple[Timed, ...], length: int) -> list[tuple[int, float]]:
    """The median milliseconds of each block with requests of a class, by when it begins."""
    blocks: dict[int, list[float]] = defaultdict(list)
    for each in values:
        if lengths.of(each.tokens) == length:
            blocks[each.at_us // BLOCK_US * BLOCK_US].append(each.us / 1000)
    return [(at_us, statistics.median(found)) for at_us, found in sorted(blocks.items())]


def _stretch(blocks: list[tuple[int, float]]) -> Stretch | None:
    """None where there are too few blocks to conclude anything."""
    if len(blocks) < shift.LEAST:
        return None
    middle_us = sum(at_us for at_us, _ in blocks) / len(blocks) + BLOCK_US / 2
    return Stretch(middle_us / _SECOND_US, [value for _, value in blocks])
