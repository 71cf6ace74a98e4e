"""What to do with a rollout now, and why. Pure: facts and the time in, a decision out.

Questions are asked in order of urgency: whether the split is still the rollout's, whether the
candidate does harm, whether it can answer at all, and only then whether a step is done. Only
evidence or a person leads past an analysis, and only a yes or a person past a webhook. Imported by
`engine.control.rollouts`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from engine.control.decisions import Decision, Reason
from engine.control.rollouts import compare
from engine.control.rollouts.facts import Facts
from storage import rollout_evidence, rollout_steps, rollout_waits
from storage.availability import Can
from storage.jobs import OPEN as JOB_OPEN
from storage.jobs import State as JobState
from storage.rollout_evidence import NO_EVIDENCE, Evidence
from storage.rollout_looks import Look, Verdict
from storage.rollout_steps import Analysis, Mirror, OnNo, Pause, SetWeight, Webhook
from storage.rollouts import OPEN, Rollout, State, Why

SECOND_US: Final = 1_000_000
LOOK_US: Final = SECOND_US
"""How often a candidate that gets requests, or copies of them, is looked at."""
KEEP_US: Final = 5 * SECOND_US
"""How often a look that changed nothing is kept, at most."""


class Do(Enum):
    """What `act` does."""

    SMOKE = auto()
    ENTER = auto()  # the step `step`, with its split
    HOLD = auto()
    ABORT = auto()
    COMPLETE = auto()
    RECORD = auto()  # keep the looks
    RECOUNT = auto()  # who met the candidate, once the requests under way at the end have ended
    RELEASE = auto()  # the release that is kept loaded after the end
    FORGET = auto()  # that one is kept loaded: the split is another one by now


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One thing to do with one rollout, as it was seen, with the looks that led to it."""

    do: Do
    rollout: Rollout
    why: Why
    sentence: str
    step: int | None = None
    evidence: Evidence = NO_EVIDENCE
    looks: tuple[Look, ...] = ()


def decide(facts: Facts, now_us: int) -> Decision:
    """What to do with one rollout; without a plan, what it waits for and when to look again."""
    plan = _open(facts, now_us) if facts.rollout.state in OPEN else _ended(facts, now_us)
    if plan is None:
        return _wait(facts, now_us)
    return Decision(Reason.WAITING, plan.sentence, with_looks(plan, facts))


def with_looks(plan: Plan, facts: Facts) -> Plan:
    """The plan with the looks that led to it, if they saw anything that is not kept yet."""
    if not facts.news and not facts.ends:
        return plan
    return replace(plan, evidence=facts.evidence, looks=facts.looks)


def following(rollout: Rollout, why: Why, sentence: str) -> Plan:
    """The plan that leads from the step that is done to the next one, or to the end."""
    at = 0 if rollout.step is None else rollout.step + 1
    if at == len(rollout.steps):
        said = f"{sentence} r{rollout.candidate} is the stable release of {rollout.service} now."
        return Plan(do=Do.COMPLETE, rollout=rollout, why=why, sentence=said.strip())
    said = f"{sentence} Step {at + 1} of {len(rollout.steps)}: "
    said += f"{rollout_steps.words(rollout.steps[at])}."
    return Plan(do=Do.ENTER, rollout=rollout, why=why, sentence=said.strip(), step=at)


def blocked(facts: Facts) -> str | None:
    """Why the rollout cannot go forward now, as a sentence; None if it can."""
    undoes = facts.rollout.undoes is not None  # going back is always allowed
    if facts.service is not None and facts.service.frozen is not None and not undoes:
        return f"{facts.service.name} is {facts.service.frozen.words}."
    if facts.candidate.can is not Can.ANSWER:
        why = facts.candidate.reason or "it gives no answer"
        return f"r{facts.rollout.candidate} cannot answer now: {why}."
    return None


def _open(facts: Facts, now_us: int) -> Plan | None:
    rollout = facts.rollout
    if not facts.owned:
        said = f"The split of {rollout.service} was set by a person; the rollout has ended."
        return _abort(rollout, Why.TAKEN, said)
    if (broken := harm(facts.looks)) is not None:
        return _abort(rollout, Why.HARM, _harmed(rollout, broken, facts.looks))
    if facts.candidate.can is Can.NOT:
        said = f"r{rollout.candidate} cannot answer: {facts.candidate.reason}."
        return _abort(rollout, Why.UNLOADABLE, said)
    match rollout.state:
        case State.LOADING:
            plan = _load(facts, now_us)
        case State.SMOKING:
            plan = _smoke(facts)
        case State.STEPPING:
            plan = _step(facts, now_us)
        case _:
            plan = None
    return plan or _record(facts, now_us)


def _harmed(rollout: Rollout, look: Look, looks: tuple[Look, ...]) -> str:
    """What a look shows: a guard that is broken, or a comparison in which the candidate is worse.

    A broken guard is reported with the comparison of its rate: stable may break it as well.
    """
    guard = next((each for each in rollout.guards if each.name == look.guard), None)
    if guard is None:
        return f"{look.sentence}."
    said = f"{look.sentence}: more than is allowed (e-value {look.harm_e:.3g})."
    name = compare.of_rate(guard)
    beside = next((each for each in looks if each.guard == name and each.n), None)
    return said if beside is None else f"{said} {beside.sentence}."


def harm(looks: tuple[Look, ...]) -> Look | None:
    """The look that shows the most harm, if one does."""
    found = [look for look in looks if look.verdict is Verdict.HARM]
    return max(found, key=lambda look: look.harm_e, default=None)


def _load(facts: Facts, now_us: int) -> Plan | None:
    rollout = facts.rollout
    if facts.candidate.can is Can.ANSWER:
        said = f"r{rollout.candidate} is loaded; a few smoke requests are sent to it."
        return Plan(do=Do.SMOKE, rollout=rollout, why=Why.LOADED, sentence=said)
    if now_us >= rollout.load_deadline_us:
        said = f"r{rollout.candidate} did not load within {rollout.load_timeout_s} s"
        return _abort(rollout, Why.LATE, f"{said}: {facts.candidate.reason}.")
    return None


def _smoke(facts: Facts) -> Plan | None:
    rollout, job = facts.rollout, facts.smoke
    if job is None:
        said = "The job of the smoke requests is gone; `paddock rollouts retry` asks them again."
        return _abort(rollout, Why.SMOKE_FAILED, said)
    if job.state in {JobState.FAILED, JobState.CANCELLED, JobState.CANCELLING}:
        said = f"r{rollout.candidate} failed its smoke requests: {job.reason or job.state.value}"
        return _abort(rollout, Why.SMOKE_FAILED, said)
    if job.state is not JobState.SUCCEEDED or blocked(facts) is not None:
        return None
    return following(rollout, Why.SMOKED, job.reason or "The smoke requests were answered.")


def _step(facts: Facts, now_us: int) -> Plan | None:
    rollout, plan = facts.rollout, None
    began = rollout.step_began_us or 0
    match rollout.current:
        case SetWeight():
            plan = _forward(facts, Why.NEXT, "")
        case Pause(None):
            said = f"The step waits for a person; {_advice(rollout)}"
            plan = _hold(rollout, Why.ASKED, said)
        case Pause(duration_s):
            if now_us >= began + (duration_s or 0) * SECOND_US:
                plan = _forward(facts, Why.WAITED, "The pause is over.")
        case Analysis(at_most_s) | Mirror(at_most_s=at_most_s):
            if rollout_waits.passed(rollout, facts.looks):
                plan = _forward(facts, Why.PASSED, _passed(facts))
            elif now_us >= began + at_most_s * SECOND_US:
                plan = _without_result(facts, at_most_s)
        case Webhook() as step:
            plan = _answered(facts, step, now_us)
        case None:
            raise AssertionError("a rollout that steps is at a step")
    return plan


def _answered(facts: Facts, step: Webhook, now_us: int) -> Plan | None:
    """What the answer of a webhook leads to; without one, a person decides."""
    rollout, asked = facts.rollout, facts.webhook
    answer = None if asked is None else asked.answer
    if answer is not None and answer.proceed:
        return _forward(facts, Why.AGREED, answer.sentence)
    if answer is not None and step.on_no is OnNo.ABORT:
        return _abort(rollout, Why.DECLINED, answer.sentence)
    if answer is not None:
        return _hold(rollout, Why.DECLINED, f"{answer.sentence} To continue, {_advice(rollout)}")
    late = now_us >= (rollout.step_began_us or 0) + step.at_most_s * SECOND_US
    if asked is None or asked.job.state not in JOB_OPEN or late:
        reason = None if asked is None else asked.job.reason
        said = f"No answer from {step.url}" + (f" within {step.at_most_s} s" if late else "")
        said += f": {reason.removeprefix(f'{step.url}: ')}" if reason else "."
        return _hold(rollout, Why.UNANSWERED, f"{said} To continue, {_advice(rollout)}")
    return None


def _without_result(facts: Facts, at_most_s: int) -> Plan:
    """Missing traffic and failed measurements never promote: a person decides."""
    rollout = facts.rollout
    waiting = rollout_waits.of(
        rollout, facts.service, facts.candidate, facts.looks, 0, facts.scores_behind_us
    )
    if any(look.verdict is Verdict.ERROR for look in facts.looks):
        broken = "; ".join(look.sentence for look in facts.looks if look.verdict is Verdict.ERROR)
        said = f"The measurement failed: {broken}. {_advice(rollout)}"
        return _hold(rollout, Why.UNMEASURED, said)
    said = f"No result after {at_most_s} s: {waiting.sentence} {_advice(rollout)}"
    return _hold(rollout, Why.INCONCLUSIVE, said)


def _advice(rollout: Rollout) -> str:
    name = rollout.service
    return f"promote it with `paddock rollouts promote {name}` or abort it."


def _passed(facts: Facts) -> str:
    shown = [look.sentence for look in facts.looks if look.verdict is Verdict.HOLDS]
    return f"The guards hold: {', '.join(shown)}."


def _forward(facts: Facts, why: Why, sentence: str) -> Plan | None:
    return None if blocked(facts) is not None else following(facts.rollout, why, sentence)


def _record(facts: Facts, now_us: int) -> Plan | None:
    """Keep a look that saw something new, not more often than is of use."""
    if not facts.news or now_us < facts.looked_us + KEEP_US:
        return None
    rollout = facts.rollout
    return Plan(do=Do.RECORD, rollout=rollout, why=rollout.why, sentence="A look is recorded.")


def _ended(facts: Facts, now_us: int) -> Plan | None:
    rollout, service = facts.rollout, facts.service
    if (due := recount_us(rollout)) is not None and now_us >= due:
        said = "Requests that were under way at the end are counted."
        return Plan(do=Do.RECOUNT, rollout=rollout, why=rollout.why, sentence=said)
    if rollout.keep_until_us is None:
        return None
    if service is None or service.owner is not None or service.split.id != rollout.split_id:
        said = "The split has changed; nothing is kept loaded for this rollout."
        return Plan(do=Do.FORGET, rollout=rollout, why=rollout.why, sentence=said)
    if now_us < rollout.keep_until_us or service.frozen is not None:
        return None
    said = "The rollback window is over; the release without traffic is unloaded."
    return Plan(do=Do.RELEASE, rollout=rollout, why=rollout.why, sentence=said)


def recount_us(rollout: Rollout) -> int | None:
    """When those who met the candidate are counted for good; None if they are."""
    ended = rollout.ended_at_us
    if rollout.impact is None or rollout.impact.final or ended is None:
        return None
    return ended + rollout_evidence.FINAL_US


def _wait(facts: Facts, now_us: int) -> Decision:
    rollout = facts.rollout
    if rollout.state not in OPEN:
        ahead = [rollout.keep_until_us, recount_us(rollout)]
        due = min((each for each in ahead if each is not None and each > now_us), default=None)
        return Decision(Reason.IDLE, rollout.sentence, due_us=due)
    waiting = rollout_waits.of(
        rollout, facts.service, facts.candidate, facts.looks, now_us, facts.scores_behind_us
    )
    look = now_us + LOOK_US if rollout.watched else None
    due = min((each for each in (look, waiting.until_us) if each is not None), default=None)
    return Decision(Reason.WAITING, waiting.sentence, due_us=due)


def _abort(rollout: Rollout, why: Why, sentence: str) -> Plan:
    return Plan(do=Do.ABORT, rollout=rollout, why=why, sentence=sentence)


def _hold(rollout: Rollout, why: Why, sentence: str) -> Plan:
    return Plan(do=Do.HOLD, rollout=rollout, why=why, sentence=sentence)
