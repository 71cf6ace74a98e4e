"""The undo of a run: the `undo` of the steps that changed something, last step first, as a runbook.

The runner walks it like any other, so it is recorded, resumed after a crash, and acts once for
each step. Reads only. Imported by `runbooks` and `app`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from runbooks import steps
from runbooks.start_request import Refused
from runbooks.steps import Do, Runbook, Step
from runbooks.values import Value
from storage import errors, intents, ledger, run_events, run_steps, runs
from storage.run_steps import Result
from storage.runs import Run
from storage.store import Session

_DIGITS: Final = 18
_OPEN: Final = frozenset({runs.State.RUNNING, runs.State.WAITING})
_OWN: Final = frozenset({"intent", "run"})  # nouns whose entries record the request itself


async def planned(
    s: Session, books: Mapping[str, Runbook | str], of: str, intent_id: int | None = None
) -> tuple[Runbook, dict[str, str]]:
    """What undoes the run with this number, and its inputs; `intent_id` is who asks.

    Raises:
        Refused: there is nothing that could be undone without undoing what came after.
    """
    run = await _run(s, of)
    book = walked(run, books)
    if book is None:
        raise Refused(
            f"{run.runbook} changed since run {run.id}; undo by hand what "
            "`paddock runbooks tail` shows."
        )
    name = f"undo of run {run.id}"
    before = await runs.called(s, name)
    others = [each for each in before if each.intent_id != intent_id]
    if any(each.state in _OPEN for each in others):
        raise Refused(f"Run {run.id} is already being undone.")
    undone = {step for other in others for step in await changed(s, other)}
    done = await changed(s, run)
    todo = [
        step
        for step in reversed(book.steps)
        if step.undo is not None and step.name in done and step.name not in undone
    ]
    if not todo:
        raise Refused(f"Run {run.id} changed nothing that is still to be undone.")
    ours: set[int | None] = {intent_id}
    for each in (run, *before):
        ours |= await asked_by(s, each)
    for step in todo:
        await unchanged(s, step.name, done[step.name], ours)
    looked = {step.name: step.looked for step in await run_steps.of(s, run.id)}
    walk = tuple(
        Step(
            name=step.name,
            sentence=f"Undo: {step.sentence}",
            do=undo_of(step, done[step.name], looked.get(step.name)),
        )
        for step in todo
    )
    title = f"Undo run {run.id} of {book.name}"
    undo = Runbook(name=name, title=title, when=book.when, inputs=book.inputs, steps=walk)
    return undo, run.inputs


def walked(run: Run, books: Mapping[str, Runbook | str]) -> Runbook | None:
    """The runbook that a run began with; None where only another one is left of it."""
    if run.book is not None:
        return msgspec.json.decode(run.book, type=Runbook)
    book = books.get(run.runbook)
    same = isinstance(book, Runbook) and steps.content(book) == run.content
    return book if isinstance(book, Runbook) and same else None


def undo_of(step: Step, intent_id: int, looked: Value) -> Do | None:
    """The undo of a step, about the intent by which it acted and what it had looked at."""
    if step.undo is None:
        return None
    known = {steps.INTENT: intent_id, steps.LOOKED: looked}
    given = {
        name: next((seen for key, seen in known.items() if value == f"{{{key}}}"), value)
        for name, value in step.undo.arguments.items()
    }
    return msgspec.structs.replace(step.undo, arguments=given)


async def _run(s: Session, of: str) -> Run:
    if not (of.isascii() and of.isdecimal() and len(of) <= _DIGITS):
        raise Refused("A run is named by its number, as `paddock runbooks tail` shows it.")
    try:
        run = await runs.find(s, int(of))
    except errors.NotFound as error:
        raise Refused(str(error)) from error
    if run.state in _OPEN:
        raise Refused(
            f"Run {run.id} has not ended; abort it first: `paddock runbooks abort {run.id}`."
        )
    return run


async def changed(s: Session, run: Run) -> dict[str, int]:
    """The intents by which the steps of a run changed something that was not undone, by step."""
    return {
        step.name: step.intent_id
        for step in await run_steps.of(s, run.id)
        if step.intent_id is not None
        and step.outcome is not Result.UNDONE
        and await changes(s, step.intent_id)
    }


async def asked_by(s: Session, run: Run) -> set[int | None]:
    """The intents of the people who began and led a run; its steps act on their behalf."""
    return {run.intent_id, run.driver, *await run_events.people(s, run.id)}


async def changes(s: Session, intent_id: int) -> list[ledger.Entry]:
    """What was changed for an intent, itself aside."""
    return [entry for entry in await ledger.caused(s, intent_id) if entry.noun not in _OWN]


async def unchanged(s: Session, step: str, intent_id: int, ours: set[int | None]) -> None:
    """Prove that what a step changed was not changed since: an undo would revert that change too.

    Raises:
        Refused: it was, on behalf of none of `ours`.
    """
    for changed in await changes(s, intent_id):
        newest = (await ledger.of(s, changed.noun, changed.key, limit=1))[0]
        if newest.intent_id == intent_id:
            continue
        by = None if newest.intent_id is None else await intents.find(s, newest.intent_id)
        if by is None or by.on_behalf_of not in ours:
            raise Refused(
                f"{changed.noun} {changed.key} was changed by {newest.actor} ({newest.verb}) after "
                f"step {step}; check it and undo by hand."
            )
