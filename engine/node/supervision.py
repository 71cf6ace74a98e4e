"""When a process is started, killed, replaced or left alone: the decisions, without the processes.

`decide(observed, plan, now_us)` sees one process and says what to do, why, and when to look again.
`failing(deaths, plan, now_us)` sees the deaths of all instances of a deployment. Nothing here
touches a process, a clock or the store; `engine.node.supervised` and `engine.node.instances` act.
Times are microseconds of the monotonic clock, so that a step of the wall clock changes nothing.
Imported by `engine.node`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Final

from engine.process import silence

SECOND_US: Final = 1_000_000
LOADS: Final = 3
"""After this many deaths in a row while loading one file, the file is at fault."""


class Act(StrEnum):
    """The one thing to do now."""

    WAIT = "wait"
    SPAWN = "spawn"
    TERMINATE = "terminate"
    KILL = "kill"


class Reason(Enum):
    """Why; the value is the sentence that people read."""

    WANTED = "it is wanted and not running"
    LOADING = "it is starting"
    SERVING = "it is ready and its heartbeats are current"
    FINISHING = "it was asked to exit and is finishing its work"
    BACKING_OFF = "it failed repeatedly; the next start is delayed"
    NOT_WANTED = "it is no longer wanted"
    GONE = "it is not wanted and not running"
    UNLOADABLE = "it cannot do its work; it is not started again"
    SLOW_START = "it sent nothing for too long while starting"
    SILENT = "its heartbeats stopped"
    HUNG = "work is waiting and no token was produced"
    UNANSWERED = "its server does not answer health checks"
    STUBBORN = "it did not exit within the drain timeout"


@dataclass(frozen=True, slots=True)
class Plan:
    """The timeouts and limits of one process. All times in microseconds."""

    start_us: int = 120 * SECOND_US
    """The longest silence while starting."""
    beat_us: int = 10 * SECOND_US
    """The longest silence between heartbeats."""
    late_us: int = silence.LATE_US
    """A silence of this length is reported, unless the process was as slow just before."""
    beats: bool = False
    """Whether heartbeats are expected from readiness on; otherwise from the first one on."""
    token_us: int = 30 * SECOND_US
    """The longest time without token and without step while there is work."""
    stall_us: int = 10 * SECOND_US
    """The same, to be reported."""
    crawl_us: int = 600 * SECOND_US
    """The longest time without token while there is work, even if steps continue."""
    drain_us: int = 20 * SECOND_US
    """From SIGTERM, or from the last progress since, to SIGKILL."""
    backoff_us: int = SECOND_US // 4
    """The delay after a second failure in a row; it doubles. The first restart is immediate."""
    backoff_cap_us: int = 30 * SECOND_US
    healthy_us: int = 60 * SECOND_US
    """Being ready for this long forgives all earlier failures."""
    deaths: int = 5
    """Deaths while serving, within `deaths_us`, that make a deployment failing."""
    deaths_us: int = 600 * SECOND_US


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of one process at this moment."""

    wanted: bool
    running: bool = False
    ready: bool = False
    heartbeats: bool = False
    """Whether it has sent a heartbeat since it was spawned."""
    working: bool = False
    stepped: bool = False
    """Whether it has completed a step since it was spawned."""
    heard_us: int = 0
    """When it last sent anything, or was spawned."""
    pace_us: int = 0
    """The longest of its recent intervals between heartbeats, of which older ones count less."""
    token_us: int = 0
    """When it last produced a token, or had nothing to do."""
    step_us: int = 0
    """When its step number last changed, or it had nothing to do."""
    unanswered_us: int | None = None
    """Since when the server behind it has not answered; None while it does, or has none."""
    terminated_us: int | None = None
    """When SIGTERM was sent to it."""
    failures: int = 0
    """How often in a row it ended without being asked to."""
    ended_us: int = 0
    failed: str | None = None
    """Why it cannot do its work at all, as it reported."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and when to look again if nothing happens (None: no need to).

    `silent_since_us` is given for a process that is ready and gives no sign of life, or none of
    progress while work waits: since when.
    """

    act: Act
    reason: Reason
    again_us: int | None = None
    silent_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class _Sign:
    """A sign of life that is due: the last one, when its lack is reported, when it kills."""

    last_us: int
    shown_us: int
    fatal_us: int
    lack: Reason


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process that had been ready, by its own fault.

    `lived_us` is the time since it was ready; `stepped` says whether it had completed a step.
    """

    at_us: int
    lived_us: int
    stepped: bool
    how: str
    last_lines: tuple[str, ...] = ()
    adapter: str = ""
    """The adapter that it was computing, "" for the base."""


def failing(deaths: Sequence[Death], plan: Plan, now_us: int, adapter: str = "") -> str | None:
    """The evidence that a deployment, or an adapter of it, dies of its requests, else None.

    A death counts for what was being computed, and only if the process had completed no step, or
    had been ready for less than `healthy_us`: a model that crashes rarely is better than none.
    """
    counted = [
        death
        for death in deaths
        if now_us - death.at_us <= plan.deaths_us
        and death.adapter == adapter
        and (not death.stepped or death.lived_us < plan.healthy_us)
    ]
    if len(counted) < plan.deaths:
        return None
    last = max(counted, key=lambda death: death.at_us)
    within_s = max(1, (last.at_us - min(death.at_us for death in counted)) // SECOND_US)
    sentence = (
        f"it died {len(counted)} times within {within_s} s while serving; the last time {last.how}"
    )
    return f"{sentence}: {' | '.join(last.last_lines)}" if last.last_lines else sentence


def backoff_us(failures: int, plan: Plan) -> int:
    """How long to wait before the next start after this many failures in a row."""
    if failures <= 1:
        return 0
    return int(min(plan.backoff_cap_us, plan.backoff_us * 2 ** min(failures - 2, 40)))


def decide(observed: Observed, plan: Plan, now_us: int) -> Decision:
    """The next act for one process."""
    if not observed.running:
        return _absent(observed, plan, now_us)
    if observed.terminated_us is not None:
        until = observed.terminated_us + plan.drain_us
        if observed.working:  # it gets no new work, so what it has will end
            until = max(observed.token_us, observed.step_us, observed.terminated_us) + plan.drain_us
            until = min(until, observed.terminated_us + plan.crawl_us)
        return _bounded(until, Reason.FINISHING, Reason.STUBBORN, now_us)
    if not observed.wanted:
        return Decision(Act.TERMINATE, Reason.NOT_WANTED)
    if observed.failed is not None:  # it exits by itself
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
    signs: list[_Sign] = []
    if plan.beats or observed.heartbeats:
        heard = observed.heard_us
        late = silence.late_us(observed.pace_us, plan.late_us)
        signs.append(_Sign(heard, heard + late, heard + plan.beat_us, Reason.SILENT))
    if observed.working:
        moved = max(observed.token_us, observed.step_us)
        fatal = min(moved + plan.token_us, observed.token_us + plan.crawl_us)
        signs.append(_Sign(moved, moved + plan.stall_us, fatal, Reason.HUNG))
    if (since := observed.unanswered_us) is not None:  # its shim ends it; the rest is a safeguard
        signs.append(_Sign(since, since, since + plan.crawl_us, Reason.UNANSWERED))
    overdue = min(signs, key=lambda sign: sign.fatal_us, default=None)
    if overdue is None:
        return Decision(Act.WAIT, Reason.SERVING)
    if now_us >= overdue.fatal_us:
        return Decision(Act.KILL, overdue.lack)
    times = [at for sign in signs for at in (sign.shown_us, sign.fatal_us) if at > now_us]
    missing = [sign for sign in signs if now_us >= sign.shown_us]
    if not missing:
        return Decision(Act.WAIT, Reason.SERVING, min(times))
    longest = min(missing, key=lambda sign: sign.last_us)
    return Decision(Act.WAIT, longest.lack, min(times), silent_since_us=longest.last_us)


def _bounded(until_us: int, meanwhile: Reason, then: Reason, now_us: int) -> Decision:
    """Wait for one reason until a time, and kill for another from then on."""
    if now_us >= until_us:
        return Decision(Act.KILL, then)
    return Decision(Act.WAIT, meanwhile, until_us)


def after_heartbeat(
    before: Observed,
    *,
    busy: bool,
    moved: bool,
    stepped: bool,
    since_token_us: int,
    now_us: int,
    unanswered_us: int = 0,
) -> Observed:
    """What is known after a heartbeat; `moved`: its step number differs from the last one's."""
    interval = now_us - before.heard_us if before.heartbeats else 0
    return replace(
        before,
        heard_us=now_us,
        pace_us=silence.pace_us(before.pace_us, interval),
        heartbeats=True,
        working=busy,
        stepped=before.stepped or stepped,
        token_us=now_us - since_token_us if busy else now_us,
        step_us=now_us if not busy or moved else before.step_us,
        unanswered_us=now_us - unanswered_us if unanswered_us else None,
    )


def after_pause(before: Observed, late_us: int) -> Observed:
    """The node itself was stopped or starved for `late_us`: no silence counts for that time."""
    return replace(
        before,
        heard_us=before.heard_us + late_us,
        token_us=before.token_us + late_us,
        step_us=before.step_us + late_us,
    )


def failures_after(observed: Observed, plan: Plan, ready_us: int | None, now_us: int) -> int:
    """The failures in a row, including the one at `now_us`."""
    if ready_us is not None and now_us - ready_us >= plan.healthy_us:
        return 1
    return observed.failures + 1
