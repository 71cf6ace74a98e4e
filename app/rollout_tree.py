"""A rollout as a tree of lines: set beside actual, its steps, its guards, what it waits for.

Reads nothing: `View` is one snapshot of the store, taken by `read`. Imported by `app.commands`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from app import shadow_lines, words
from storage import (
    availability,
    errors,
    measures,
    rollout_events,
    rollout_looks,
    rollout_steps,
    rollout_waits,
    services,
    shadow_figures,
    splits,
)
from storage.availability import Availability
from storage.measures import Window
from storage.rollout_events import RolloutEvent
from storage.rollout_looks import Look
from storage.rollout_waits import Waiting
from storage.rollouts import OPEN, Rollout, State
from storage.service_rows import Service
from storage.shadow_figures import Figures
from storage.store import Session

WINDOW_S: Final = 60
"""The last seconds in which the actual share of an arm is measured."""
_SECOND_US: Final = 1_000_000
_GUARD_TITLES: Final = ("GUARD", "VERDICT", "EVENTS", "RATE", "95 %", "E HARM", "E HOLD", "NEEDS")


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """An arm: its weight, and its share of the service's requests of the last minute."""

    release: int
    role: str
    weight_bp: int
    requests: int
    actual: float | None
    between: tuple[float, float] | None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All that is drawn of one rollout, at one moment."""

    rollout: Rollout
    phase: str
    arms: tuple[Share, ...]
    looks: tuple[Look, ...]
    waiting: Waiting
    events: tuple[RolloutEvent, ...]
    shadow: Figures | None
    at_us: int


async def read(s: Session, rollout: Rollout, now_us: int) -> View:
    """What there is to draw of a rollout now."""
    service = await _service(s, rollout.service)
    able: Availability = (await availability.every(s, [rollout.candidate]))[rollout.candidate]
    looks = await rollout_looks.newest(s, rollout)
    return View(
        rollout=rollout,
        phase=rollout.phase.value,
        arms=() if service is None else await _arms(s, rollout, service, now_us),
        looks=tuple(looks),
        waiting=rollout_waits.of(rollout, service, able, looks, now_us),
        events=tuple(await rollout_events.of(s, rollout.id)),
        shadow=await shadow_figures.of(s, rollout),
        at_us=now_us,
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


def lines(view: View) -> list[str]:
    """The tree."""
    rollout = view.rollout
    head = f"{rollout.service}  rollout {rollout.id}  revision {rollout.revision}  "
    head += f"{rollout.strategy.value.replace('_', '-')}  {view.phase}"
    if rollout.attempt > 1:
        head += f"  attempt {rollout.attempt}"
    parts = [
        ("arms", _arm_lines(view)),
        ("steps", _step_lines(rollout)),
        ("guards", _guard_lines(view)),
        ("shadow", shadow_lines.lines(rollout, view.shadow)),
        ("impact", _impact_lines(rollout)),
        (_waits(view), []),
    ]
    shown = [(title, rows) for title, rows in parts if rows or title not in _TITLES]
    drawn = [head]
    for at, (title, rows) in enumerate(shown):
        last = at == len(shown) - 1
        drawn.append(f"{'└─' if last else '├─'} {title}")
        drawn += [f"{'  ' if last else '│ '} {row}" for row in rows]
    return [words.safe(line) for line in drawn]


_TITLES: Final = frozenset({"arms", "steps", "guards", "shadow", "impact"})


def _waits(view: View) -> str:
    rollout, waiting = view.rollout, view.waiting
    if rollout.state not in OPEN:
        return f"{rollout.state.value} {words.clock(rollout.moved_at_us)}: {rollout.sentence}"
    until = ""
    if waiting.until_us is not None:
        left = words.brief(max(waiting.until_us - view.at_us, 0))
        until = f" Until {words.clock(waiting.until_us)} at most ({left})."
    return f"{rollout.state.value}: {waiting.sentence}{until}"


def _arm_lines(view: View) -> list[str]:
    rows = [
        (
            f"r{arm.release}",
            arm.role,
            f"set {splits.percent(arm.weight_bp)}",
            f"actual {words.share(arm.actual, arm.between)}",
            words.counted(arm.requests, "request"),
        )
        for arm in view.arms
    ]
    return words.table(rows)


def _step_lines(rollout: Rollout) -> list[str]:
    done = rollout.state is State.COMPLETED
    at = -1 if rollout.step is None else rollout.step
    rows = []
    for number, step in enumerate(rollout.steps):
        mark = "✔" if done or number < at else "▶" if number == at else "○"
        if number == at and rollout.state in {State.ABORTED, State.UNDONE}:
            mark = "✖"
        if number == at and rollout.state is State.PAUSED:
            mark = "Ⅱ"
        since = f"since {words.clock(rollout.step_began_us)}" if number == at and not done else ""
        rows.append((mark, str(number + 1), rollout_steps.words(step), since))
    return words.table(rows)


def _guard_lines(view: View) -> list[str]:
    by_name = {look.guard: look for look in view.looks}
    rows = [_GUARD_TITLES]
    for guard in view.rollout.guards:
        look = by_name.get(guard.name)
        if look is None:
            rows.append((guard.name, "no look", "", "", "", "", "", ""))
            continue
        needs = words.whole(look.needed if guard.required else None)
        rows.append(
            (
                guard.name,
                look.verdict.value,
                f"{look.events} of {look.n}",
                words.percent(look.events / look.n if look.n else None),
                f"{_points(look.low)}–{_points(look.high)} %",
                f"{look.harm_e:.2g}",
                f"{look.safety_e:.2g}",
                needs,
            )
        )
    return words.table(rows) if len(rows) > 1 else []


def _points(share: float) -> str:
    """A share in percent without the sign, to a tenth."""
    return f"{round(min(share, 1.0) * 100, 1):g}"


def _impact_lines(rollout: Rollout) -> list[str]:
    met = rollout.impact
    if met is None:
        return []
    who = f"{words.counted(met.keys, 'key')} of {words.counted(met.tenants, 'tenant')}"
    asked = words.counted(met.requests, "request")
    exposed, found = words.duration(met.exposed_us), words.duration(met.found_us)
    return [
        f"{asked} met it, {met.failed} of them failed; {who}",
        f"exposed for {exposed}, ended {found} after its first traffic",
    ]
