"""What undoes a run: the `undo` of its steps that were done, the last one first, as a runbook.

Walked by the runner as any other, so that it is written down, gone on with after a crash, and
asks for each step once. Reads only. Imported by `runbooks.runner` and `app`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runbooks import steps
from runbooks.start_request import Refused
from runbooks.steps import Runbook, Step
from storage import errors, intents, ledger, runs
from storage.runs import Run
from storage.store import Session

_DIGITS: Final = 18
_OWN: Final = frozenset({"intent", "run"})  # nouns whose entries tell of the asking itself


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
            f"{run.runbook} is not what run {run.id} walked; undo by hand what "
            "`paddock runbooks tail` shows."
        )
    name = f"undo of run {run.id}"
    before = await runs.called(s, name)
    others = [each for each in before if each.intent_id != intent_id]
    if any(each.state is runs.State.RUNNING for each in others):
        raise Refused(f"Run {run.id} is being undone already.")
    undone = {step for other in others for step in await _done(s, other)}
    done = await _done(s, run)
    todo = [
        step
        for step in reversed(book.steps)
        if step.undo is not None and step.name in done and step.name not in undone
    ]
    if not todo:
        raise Refused(f"Run {run.id} has done nothing that is still to be undone.")
    ours = {run.intent_id, *(each.intent_id for each in before), intent_id}
    for step in todo:
        await _unchanged(s, step.name, done[step.name], ours)
    walk = tuple(
        Step(name=step.name, sentence=f"Undo: {step.sentence}", do=step.undo) for step in todo
    )
    title = f"Undo run {run.id} of {book.name}"
    return Runbook(name=name, title=title, when=book.when, steps=walk), run.inputs


async def _run(s: Session, of: str) -> Run:
    if not (of.isascii() and of.isdecimal() and len(of) <= _DIGITS):
        raise Refused("A run is named by its number, as `paddock runbooks tail` shows it.")
    try:
        run = await runs.find(s, int(of))
    except errors.NotFound as error:
        raise Refused(str(error)) from error
    if run.state is runs.State.RUNNING:
        raise Refused(f"Run {run.id} goes on; undo it when it has ended.")
    return run


async def _done(s: Session, run: Run) -> dict[str, int]:
    """The intents that were applied for a run, by step."""
    return {
        step.name: step.intent_id
        for step in await runs.steps(s, run.id)
        if step.intent_id is not None
        and (await intents.find(s, step.intent_id)).state is intents.State.APPLIED
    }


async def _unchanged(s: Session, step: str, intent_id: int, ours: set[int | None]) -> None:
    """What a step changed was changed by nobody else since: an undo would undo theirs."""
    for changed in await ledger.caused(s, intent_id):
        if changed.noun in _OWN:
            continue
        newest = (await ledger.of(s, changed.noun, changed.key, limit=1))[0]
        if newest.intent_id == intent_id:
            continue
        by = None if newest.intent_id is None else await intents.find(s, newest.intent_id)
        if by is None or by.on_behalf_of not in ours:
            raise Refused(
                f"{changed.noun} {changed.key} was changed by {newest.actor} ({newest.verb}) after "
                f"step {step}; look at it and undo by hand."
            )
