"""The undo of a run: the `undo` of the steps that changed something, last step first, as a runbook.

The runner walks it like any other, so it is recorded, resumed after a crash, and acts once for
each step. Reads only. Imported by `runbooks.runner` and `app`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from runbooks import steps
from runbooks.start_request import Refused
from runbooks.steps import Do, Runbook, Step
from storage import errors, intents, ledger, runs
from storage.runs import Run
from storage.store import Session

_DIGITS: Final = 18
_OWN: Final = frozenset({"intent", "run"})  # nouns whose entries record the request itself


async def planned(
    s: Session, books: Mapping[str, Runbook | str], of: str, intent_id: int | None = None
) -> tuple[Runbook, dict[str, str]]:
    """What undoes the run with this number, and its inputs; `intent_id` is who asks.

    Raises:
        Refused: there is nothing that could be undone without undoing what came after.
    """
    run = await _run(s, of)
    book = books.get(run.runbook)
    if not isinstance(book, Runbook) or steps.content(book) != run.content:
        raise Refused(
            f"{run.runbook} changed since run {run.id}; undo by hand what "
            "`paddock runbooks tail` shows."
        )
    name = f"undo of run {run.id}"
    before = await runs.called(s, name)
    others = [each for each in before if each.intent_id != intent_id]
    if any(each.state is runs.State.RUNNING for each in others):
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
    ours = {run.intent_id, *(each.intent_id for each in before), intent_id}
    for step in todo:
        await _unchanged(s, step.name, done[step.name], ours)
    walk = tuple(
        Step(name=step.name, sentence=f"Undo: {step.sentence}", do=_undo(step, done[step.name]))
        for step in todo
    )
    title = f"Undo run {run.id} of {book.name}"
    return Runbook(name=name, title=title, when=book.when, steps=walk), run.inputs


def _undo(step: Step, intent_id: int) -> Do | None:
    """The undo of a step, about the intent by which it acted."""
    if step.undo is None:
        return None
    given = {
        name: intent_id if value == f"{{{steps.INTENT}}}" else value
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
    if run.state is runs.State.RUNNING:
        raise Refused(f"Run {run.id} is still running; undo it when it has ended.")
    return run


async def changed(s: Session, run: Run) -> dict[str, int]:
    """The intents by which the steps of a run changed something, by step."""
    return {
        step.name: step.intent_id
        for step in await runs.steps(s, run.id)
        if step.intent_id is not None and await _changes(s, step.intent_id)
    }


async def _changes(s: Session, intent_id: int) -> list[ledger.Entry]:
    """What was changed for an intent, itself aside."""
    return [entry for entry in await ledger.caused(s, intent_id) if entry.noun not in _OWN]


async def _unchanged(s: Session, step: str, intent_id: int, ours: set[int | None]) -> None:
    """Prove that what a step changed was not changed since: an undo would take that back too."""
    for changed in await _changes(s, intent_id):
        newest = (await ledger.of(s, changed.noun, changed.key, limit=1))[0]
        if newest.intent_id == intent_id:
            continue
        by = None if newest.intent_id is None else await intents.find(s, newest.intent_id)
        if by is None or by.on_behalf_of not in ours:
            raise Refused(
                f"{changed.noun} {changed.key} was changed by {newest.actor} ({newest.verb}) after "
                f"step {step}; check it and undo by hand."
            )
