"""A rollout as a tree of lines: set beside actual, its steps, its guards, what it waits for.

Reads nothing: a `View` is taken by `app.rollout_view`. Imported by `app.commands`.
"""

from __future__ import annotations

from typing import Final

from app import shadow_lines, words
from app.rollout_view import View
from storage import rollout_steps, splits
from storage.rollouts import OPEN, Rollout, State

_GUARD_TITLES: Final = ("GUARD", "VERDICT", "EVENTS", "RATE", "95 %", "E HARM", "E HOLD", "NEEDS")


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
        ("against stable", _comparison_lines(view)),
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


_TITLES: Final = frozenset({"arms", "steps", "guards", "shadow", "against stable", "impact"})


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
            rows.append((guard.name, "not yet", "", "", "", "", "", ""))
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


def _comparison_lines(view: View) -> list[str]:
    named = {guard.name for guard in view.rollout.guards}
    rows = [(look.verdict.value, look.sentence) for look in view.looks if look.guard not in named]
    seen = view.before
    if seen is not None and (seen.before_p95_us is not None or seen.during_p95_us is not None):
        p95 = f"{words.duration(seen.before_p95_us)} before, {words.duration(seen.during_p95_us)}"
        errors_ = f"{words.percent(seen.before_error_rate)} before, "
        errors_ += words.percent(seen.during_error_rate)
        said = f"r{view.rollout.stable}: p95 {p95} during; errors {errors_} during"
        rows.append(("stable", said))
    return words.table(rows) if rows else []


def _impact_lines(rollout: Rollout) -> list[str]:
    met = rollout.impact
    if met is None:
        return []
    who = f"{words.counted(met.users, 'named user')}, {words.counted(met.keys, 'key')}"
    who += f" of {words.counted(met.tenants, 'tenant')}"
    asked = words.counted(met.requests, "request")
    exposed, found = words.duration(met.exposed_us), words.duration(met.found_us)
    return [
        f"{asked} met it, {met.failed} of them failed; {who}",
        f"exposed for {exposed}, ended {found} after its first traffic"
        + ("" if met.final else "; requests under way at the end may be missing"),
        f"decided by: {rollout.why.value.replace('_', ' ')}",
    ]
