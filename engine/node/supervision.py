"""When a part is spawned, killed, replaced or left alone: the decision, without the process.

`decide(observed, plan, now_us)` sees one part and says what to do, why, and when to look again.
It never touches a process, a clock or the store; `engine.node.supervised` acts on it. Times
are microseconds of the monotonic clock, so that a wall clock that jumps changes nothing.
Imported by `engine.node`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Final

SECOND_US: Final = 1_000_000
LOADS: Final = 3
"""So many deaths in a row while loading one file, and it is not loaded again: it is the reason."""


class Act(StrEnum):
    """The one thing that is done now."""

    WAIT = "wait"
    SPAWN = "spawn"
    TERMINATE = "terminate"
    KILL = "kill"


class Reason(Enum):
    """Why; the value is the sentence that people read."""

    WANTED = "it is wanted and does not run"
    LOADING = "it is starting"
    SERVING = "it is ready and its beats arrive"
    FINISHING = "it was told to stop and finishes its work"
    BACKING_OFF = "it ended too often; the next attempt waits"
    NOT_WANTED = "it is not wanted any more"
    GONE = "it is not wanted and does not run"
    UNLOADABLE = "it said that it cannot do its work; it is not started again"
    SLOW_START = "it said nothing for too long while starting"
    OPENING = "it is opening an adapter"
    SLOW_OPENING = "it said nothing for too long while it opened an adapter"
    SILENT = "its beats stopped"
    HUNG = "work waits and no token comes"
    STUBBORN = "it did not leave in time after being told to"


@dataclass(frozen=True, slots=True)
class Plan:
    """How patient the node is with one part. All times in microseconds."""

    start_us: int = 120 * SECOND_US
    """The longest silence of a part that is starting."""
    beat_us: int = 10 * SECOND_US
    """The longest silence of a part that beats."""
    beats: bool = False
    """Whether beats are owed from readiness on; otherwise from the first beat on."""
    token_us: int = 30 * SECOND_US
    """The longest time without token and without step while work is there."""
    crawl_us: int = 600 * SECOND_US
    """The longest time without token while work is there, even though steps go on."""
    drain_us: int = 20 * SECOND_US
    """From SIGTERM, or from the last progress since, to SIGKILL."""
    backoff_us: int = SECOND_US // 4
    """The wait after a second failure in a row; it doubles. The first restart does not wait."""
    backoff_cap_us: int = 30 * SECOND_US
    healthy_us: int = 60 * SECOND_US
    """Ready for so long forgives all earlier failures."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of one part at this moment."""

    wanted: bool
    running: bool = False
    ready: bool = False
    beaten: bool = False
    working: bool = False
    opening: bool = False
    """Whether it is loading an adapter, between two of its beats."""
    heard_us: int = 0
    """When it last said anything, or was spawned."""
    token_us: int = 0
    """When it last produced a token, or had nothing to do."""
    step_us: int = 0
    """When its step number last moved, or it had nothing to do."""
    told_us: int | None = None
    """When it was told to stop."""
    failures: int = 0
    """How often in a row it ended without being told to."""
    ended_us: int = 0
    failed: str | None = None
    """The reason it gave for not being able to work at all."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and when to look again if nothing happens (None: no need to)."""

    act: Act
    reason: Reason
    again_us: int | None = None


def backoff_us(failures: int, plan: Plan) -> int:
    """How long to wait before the next attempt after so many failures in a row."""
    if failures <= 1:
        return 0
    return int(min(plan.backoff_cap_us, plan.backoff_us * 2 ** min(failures - 2, 40)))


def decide(observed: Observed, plan: Plan, now_us: int) -> Decision:
    """The next act for one part."""
    if not observed.running:
        return _absent(observed, plan, now_us)
    if observed.told_us is not None:
        until = observed.told_us + plan.drain_us
        if observed.working:  # no new work comes, and what goes on has an end
            until = max(observed.token_us, observed.step_us, observed.told_us) + plan.drain_us
            until = min(until, observed.told_us + plan.crawl_us)
        return _bounded(until, Reason.FINISHING, Reason.STUBBORN, now_us)
    if not observed.wanted:
        return Decision(Act.TERMINATE, Reason.NOT_WANTED)
    if observed.failed is not None:  # it leaves by itself
        until = observed.heard_us + plan.drain_us
        return _bounded(until, Reason.UNLOADABLE, Reason.UNLOADABLE, now_us)
    if not observed.ready:
        until = observed.heard_us + plan.start_us
        return _bounded(until, Reason.LOADING, Reason.SLOW_START, now_us)
    return _ready(observed, plan, now_us)


def _absent(observed: Observed, plan: Plan, now_us: int) -> Decision:
    if not observed.wanted:
        return Decision(Act.WAIT, Reason.GONE)
    if observed.failed is not None:
        return Decision(Act.WAIT, Reason.UNLOADABLE)
    at = observed.ended_us + backoff_us(observed.failures, plan)
    if observed.failures and now_us < at:
        return Decision(Act.WAIT, Reason.BACKING_OFF, at)
    return Decision(Act.SPAWN, Reason.WANTED)


def _ready(observed: Observed, plan: Plan, now_us: int) -> Decision:
    if observed.opening:
        until = observed.heard_us + plan.start_us
        return _bounded(until, Reason.OPENING, Reason.SLOW_OPENING, now_us)
    bounds: list[tuple[int, Reason]] = []
    if plan.beats or observed.beaten:
        bounds.append((observed.heard_us + plan.beat_us, Reason.SILENT))
    if observed.working:
        still = max(observed.token_us, observed.step_us) + plan.token_us
        bounds.append((min(still, observed.token_us + plan.crawl_us), Reason.HUNG))
    if not bounds:
        return Decision(Act.WAIT, Reason.SERVING)
    at, reason = min(bounds, key=lambda bound: bound[0])
    return _bounded(at, Reason.SERVING, reason, now_us)


def _bounded(until_us: int, meanwhile: Reason, then: Reason, now_us: int) -> Decision:
    """Wait for one reason until a time, and kill for another from then on."""
    if now_us >= until_us:
        return Decision(Act.KILL, then)
    return Decision(Act.WAIT, meanwhile, until_us)


def beaten(
    seen: Observed, *, busy: bool, moved: bool, since_token_us: int, now_us: int
) -> Observed:
    """What is known after a beat; `moved`: its step number is another than that of the last."""
    return replace(
        seen,
        heard_us=now_us,
        beaten=True,
        working=busy,
        token_us=now_us - since_token_us if busy else now_us,
        step_us=now_us if not busy or moved else seen.step_us,
    )


def forgiven(seen: Observed, late_us: int) -> Observed:
    """The watcher itself was stopped or starved: nobody's silence counts for that time."""
    return replace(
        seen,
        heard_us=seen.heard_us + late_us,
        token_us=seen.token_us + late_us,
        step_us=seen.step_us + late_us,
    )


def failures_after(observed: Observed, plan: Plan, ready_us: int | None, now_us: int) -> int:
    """The failures in a row once this one, at `now_us`, is counted in."""
    if ready_us is not None and now_us - ready_us >= plan.healthy_us:
        return 1
    return observed.failures + 1
