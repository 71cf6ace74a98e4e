"""What a rollout waits for, in a sentence, and until when.

Pure over records of the store: control decides with it, screens and commands show it, and both say
the same. Imported by every package.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from storage import rollout_guards, rollout_steps
from storage.availability import Availability, Can
from storage.rollout_guards import Guard
from storage.rollout_looks import Look, Verdict
from storage.rollout_steps import Analysis, Mirror, Pause, Webhook
from storage.rollouts import Rollout, State
from storage.services import Service

_MINUTE_US: Final = 60 * 1_000_000
_LATE_US: Final = 3 * _MINUTE_US
"""Scoring runs once a minute."""


class For(StrEnum):
    """What it waits for."""

    LOAD = "load"  # the candidate cannot answer yet
    SMOKE = "smoke"  # the job of the smoke requests
    TIME = "time"  # the end of a pause
    EVIDENCE = "evidence"  # requests, for an analysis, or copies of them, for a mirror
    CANDIDATE = "candidate"  # it has to answer again before it gets more
    WEBHOOK = "webhook"  # its answer
    UNFREEZE = "unfreeze"  # the service is frozen
    PERSON = "person"  # promote, abort
    NOTHING = "nothing"  # it has ended, or control acts now


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What for, as a sentence, and until when at the latest; None: without an end."""

    for_: For = msgspec.field(name="for")
    sentence: str
    until_us: int | None = None


def of(
    rollout: Rollout,
    service: Service | None,
    candidate: Availability,
    looks: Sequence[Look],
    now_us: int,
    scores_behind_us: int = 0,
) -> Waiting:
    """What a rollout waits for now; `looks` are the newest verdicts on its guards.

    `scores_behind_us` is for how long answers of the service have waited to be scored.
    """
    name = f"r{rollout.candidate}"
    match rollout.state:
        case State.LOADING:
            why = candidate.reason or f"{name} is being loaded"
            return Waiting(for_=For.LOAD, sentence=f"{why}.", until_us=rollout.load_deadline_us)
        case State.SMOKING:
            said = f"Job {rollout.smoke_job_id} asks {name} a few requests."
            return Waiting(for_=For.SMOKE, sentence=said)
        case State.PAUSED:
            said = f"{rollout.sentence} `paddock rollouts promote {rollout.service}` continues it."
            return Waiting(for_=For.PERSON, sentence=said)
        case State.STEPPING:
            return _step(rollout, service, candidate, looks, now_us, scores_behind_us)
        case _:
            return Waiting(for_=For.NOTHING, sentence=rollout.sentence)


def _step(
    rollout: Rollout,
    service: Service | None,
    candidate: Availability,
    looks: Sequence[Look],
    now_us: int,
    scores_behind_us: int,
) -> Waiting:
    step = rollout.current
    began = rollout.step_began_us or now_us
    if isinstance(step, Pause) and step.duration_s is not None:
        until = began + step.duration_s * 1_000_000
        if now_us < until:
            said = f"A {rollout_steps.words(step)} is under way."
            return Waiting(for_=For.TIME, sentence=said, until_us=until)
    if isinstance(step, Analysis | Mirror) and not passed(rollout, looks):
        until = began + step.at_most_s * 1_000_000
        said = _missing(rollout, looks, scores_behind_us)
        return Waiting(for_=For.EVIDENCE, sentence=said, until_us=until)
    if isinstance(step, Webhook) and now_us < began + step.at_most_s * 1_000_000:
        said = f"Job {rollout.webhook_job_id} asks {step.url} whether to continue."
        return Waiting(for_=For.WEBHOOK, sentence=said, until_us=began + step.at_most_s * 1_000_000)
    undoes = rollout.undoes is not None
    if service is not None and service.frozen is not None and not undoes:
        said = f"{service.name} is {service.frozen.words}."
        return Waiting(for_=For.UNFREEZE, sentence=said)
    if candidate.can is not Can.ANSWER:
        said = f"r{rollout.candidate} has to answer first: {candidate.reason}."
        return Waiting(for_=For.CANDIDATE, sentence=said)
    return Waiting(for_=For.NOTHING, sentence=rollout.sentence)


def passed(rollout: Rollout, looks: Sequence[Look]) -> bool:
    """Whether every guard that a step requires is shown to hold; never without a look."""
    if any(look.verdict is Verdict.ERROR for look in looks):
        return False
    verdicts = {look.guard: look.verdict for look in looks}
    judged = _judged(rollout)
    required = [guard.name for guard in judged if guard.required]
    wanted = required or [guard.name for guard in judged]
    if _copies_missing(rollout, looks):
        return False
    return bool(wanted) and all(verdicts.get(name) is Verdict.HOLDS for name in wanted)


def _judged(rollout: Rollout) -> list[Guard]:
    """The guards that something is counted for at the step that is under way."""
    copies = isinstance(rollout.current, Mirror)
    return [guard for guard in rollout.guards if guard.counts(copies=copies)]


def _copies_missing(rollout: Rollout, looks: Sequence[Look]) -> int:
    """How many copies a mirror still needs before it may be over."""
    step = rollout.current
    compared = max((look.n for look in looks), default=0)
    return max(step.at_least - compared, 0) if isinstance(step, Mirror) else 0


def _missing(rollout: Rollout, looks: Sequence[Look], scores_behind_us: int) -> str:
    """Which guards are not shown to hold yet, and what that would take at the least."""
    by_name = {look.guard: look for look in looks}
    parts = []
    late = False
    for guard in _judged(rollout):
        look = by_name.get(guard.name)
        if not guard.required or (look is not None and look.verdict is Verdict.HOLDS):
            continue
        if look is None:
            parts.append(f"{guard.name} has not been looked at")
        elif look.verdict is Verdict.ERROR:
            parts.append(f"{guard.name} could not be computed ({look.sentence})")
        else:
            parts.append(f"{guard.name} needs {look.needed} more without an event")
        late = late or guard.measure in rollout_guards.SCORED
    if late and scores_behind_us >= _LATE_US:
        parts.append(f"scoring of answers is {scores_behind_us // _MINUTE_US} min behind")
    if missing := _copies_missing(rollout, looks):
        parts.append(f"{missing} more copies have to be compared")
    parts += [look.sentence for look in looks if look.verdict is Verdict.ERROR and not parts]
    return "; ".join(parts) + "." if parts else "The guards are looked at."
