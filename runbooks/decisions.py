"""Decisions of people about a run: next, confirm, skip, retry, take, hand over, note, abort.

Each is one transaction, proved against the run as it is: only the person who holds a run decides
for it, and only about the step that they saw. Imported by `runbooks.runner`.
"""

from __future__ import annotations

from typing import Any, Final

from runbooks.start_request import Refused
from storage import errors, intents, run_events, run_steps, runs
from storage.control_socket import verbs
from storage.intents import Intent
from storage.run_events import Kind
from storage.run_steps import Result
from storage.runs import Pace, Run, State, Waits
from storage.store import Session

DRIVING: Final = {
    "runbooks.next": (Kind.CONTINUED, frozenset({Waits.NEXT})),
    "runbooks.confirm": (Kind.CONFIRMED, frozenset({Waits.CONFIRM})),
    "runbooks.skip": (Kind.SKIPPED, frozenset(Waits)),
    "runbooks.retry": (Kind.RETRIED, frozenset({Waits.DECIDE})),
}
"""Decisions after which a run is walked again, and what it has to wait for."""

ABORT: Final = "runbooks.abort"
_DIGITS: Final = 18
_NEEDS: Final = {
    Waits.NEXT: "`paddock runbooks next {}` carries the step out, `skip` skips it",
    Waits.CONFIRM: "`paddock runbooks confirm {}` confirms that it was done, `skip` skips it",
    Waits.DECIDE: "`paddock runbooks retry {}` tries it again, `skip` skips it",
}


def needs(run: Run) -> str:
    """What a waiting run needs, as commands; empty where it needs nothing."""
    if run.waits_for is None:
        return ""
    return f"{_NEEDS[run.waits_for].format(run.id)}, `abort` ends the run."


async def find(s: Session, target: str) -> Run:
    """The run that an intent names.

    Raises:
        Refused: there is none.
    """
    if not (target.isascii() and target.isdecimal() and len(target) <= _DIGITS):
        raise Refused("A run is named by its number, as `paddock runbooks tail` shows it.")
    try:
        return await runs.find(s, int(target))
    except errors.NotFound as error:
        raise Refused(str(error)) from error


async def drive(s: Session, intent: Intent, at_us: int) -> Run:
    """Apply a decision to a waiting run, which runs then for this intent; twice is once.

    Raises:
        Refused: it does not wait for that, waits at another step, or another person holds it.
    """
    run = await find(s, intent.target)
    if run.driver == intent.id:
        return run
    kind, allowed = DRIVING[intent.verb]
    asked = verbs.parse(intent.verb, intent.arguments)
    step = _waiting_at(run, allowed, asked.step)
    held_by(run, intent.actor)
    note = getattr(asked, "note", "") or intent.reason
    changed: dict[str, Any] = {"go_intent_id": intent.id}
    if kind is Kind.SKIPPED:
        changed = {"outcome": Result.SKIPPED, "ended_at_us": at_us, "sentence": f"skipped: {note}"}
    elif kind is Kind.RETRIED:
        changed = await _again(s, run, step)
    elif kind is Kind.CONFIRMED:
        changed["sentence"] = f"done by {intent.actor}" + (f": {note}" if note else "")
    await run_steps.change(s, run.id, step, **changed)
    await run_events.add(
        s, run.id, kind, note, actor=intent.actor, at_us=at_us, step=step, intent_id=intent.id
    )
    pace = Pace.STEP if run.pace is Pace.ALONE else run.pace
    return await runs.resume(s, run, driver=intent.id, actor=intent.actor, at_us=at_us, pace=pace)


async def _again(s: Session, run: Run, name: str) -> dict[str, Any]:
    """What is forgotten of a step that is tried again: all, unless its action was carried out."""
    known = next(step for step in await run_steps.of(s, run.id) if step.name == name)
    forgotten: dict[str, Any] = {"outcome": None, "sentence": None, "after": None}
    if known.intent_id is not None:
        acted = await intents.find(s, known.intent_id)
        if acted.state is intents.State.APPLIED:
            return forgotten
    return forgotten | {
        "looked": None, "as_expected": None, "expected_version": None, "intent_id": None,
        "before": None, "go_intent_id": None,
    }  # fmt: skip


async def tell(s: Session, intent: Intent, at_us: int) -> str:
    """Carry out a decision after which no step is walked; the sentence that it ends with.

    Raises:
        Refused: with a sentence for the person.
    """
    run = await find(s, intent.target)
    asked = verbs.parse(intent.verb, intent.arguments)
    match asked:
        case verbs.runbooks.Note():
            kind, said, sentence = Kind.NOTED, asked.text, f"Noted in run {run.id}."
        case verbs.runbooks.HandOver():
            _open(run)
            held_by(run, intent.actor)
            kind, said = Kind.HANDED_OVER, f"to {asked.to}"
            sentence = f"Run {run.id} is {asked.to}'s now."
            await _hold(s, run, asked.to, intent, at_us)
        case _:
            _open(run)
            if run.taken_by == intent.actor:
                return f"Run {run.id} is already {intent.actor}'s."
            kind, said = Kind.TAKEN, "" if run.taken_by is None else f"from {run.taken_by}"
            sentence = f"Run {run.id} is {intent.actor}'s now" + (f", {said}." if said else ".")
            await _hold(s, run, intent.actor, intent, at_us)
    await run_events.add(
        s, run.id, kind, said, actor=intent.actor, at_us=at_us, step=run.waits_at,
        intent_id=intent.id,
    )  # fmt: skip
    return sentence


async def abort(s: Session, intent: Intent, at_us: int) -> Run:
    """End a waiting run; one that is being walked is left to its walk.

    Raises:
        Refused: it ended, or another person holds it.
    """
    run = await find(s, intent.target)
    if run.state is State.ABORTED and (run.reason or "").startswith(_aborted(intent)):
        return run
    _open(run)
    held_by(run, intent.actor)
    if run.state is State.WAITING:
        await run_events.add(
            s, run.id, Kind.ENDED, aborted(intent), actor=intent.actor, at_us=at_us,
            step=run.waits_at, intent_id=intent.id,
        )  # fmt: skip
        await runs.end(
            s, run.id, State.ABORTED, reason=aborted(intent), at_us=at_us, actor=intent.actor
        )
    return await runs.find(s, run.id)


def aborted(intent: Intent) -> str:
    """The reason of a run that was aborted."""
    return _aborted(intent) + (f": {intent.reason}" if intent.reason else "")


def _aborted(intent: Intent) -> str:
    return f"aborted by {intent.actor}"


def held_by(run: Run, actor: str) -> None:
    """Refuse a decision by anyone but the person who holds the run."""
    if run.taken_by not in {None, actor}:
        raise Refused(
            f"Run {run.id} is taken by {run.taken_by}; `paddock runbooks take {run.id}` takes it "
            "over."
        )


async def _hold(s: Session, run: Run, by: str, intent: Intent, at_us: int) -> None:
    await runs.hold(s, run, by, actor=intent.actor, at_us=at_us, intent_id=intent.id)


def _open(run: Run) -> None:
    if run.state not in {State.RUNNING, State.WAITING}:
        raise Refused(f"Run {run.id} has ended: it is {run.state}.")


def _waiting_at(run: Run, allowed: frozenset[Waits], seen: str | None) -> str:
    _open(run)
    if run.waits_for is None or run.waits_at is None:
        raise Refused(f"Run {run.id} is running; it does not wait for anyone now.")
    if run.waits_for not in allowed:
        raise Refused(f"Run {run.id} does not wait for that: {needs(run)}")
    if seen is not None and seen != run.waits_at:
        raise Refused(f"Run {run.id} waits at step {run.waits_at} now, not at {seen}. Look again.")
    return run.waits_at
