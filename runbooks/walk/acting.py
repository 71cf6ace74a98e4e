"""What a walk does: asks for the action of a step or for its undo, and waits for the outcome.

A step asks for each of them once, however often the walk is killed. Imported by `runbooks.walk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runbooks import actions, steps, undo_plan, values
from runbooks.start_request import Refused
from runbooks.steps import Do, Step
from runbooks.values import Value
from runbooks.walk.box import Box
from runbooks.walk.endings import Failed
from runbooks.walk.journal import Journal
from runbooks.walk.sight import Sight
from storage import intents, run_steps
from storage.control_socket import client
from storage.home.paths import Home
from storage.intents import Intent
from storage.run_events import Kind
from storage.runs import Run
from storage.store import Session

OUTCOME_S: Final = 60.0


class Acting:
    """The actions of one run, on behalf of the intent that drives it.

    `typed` are the inputs that are numbers.
    """

    def __init__(
        self, box: Box, home: Home, run: Run, driver: Intent,
        *, journal: Journal, sight: Sight, typed: Mapping[str, Value],
    ) -> None:  # fmt: skip
        self._box = box
        self._home = home
        self._run = run
        self._driver = driver
        self._journal = journal
        self._sight = sight
        self._typed = typed

    async def do(self, step: Step, do: Do, at: int, known: run_steps.Step) -> str | None:
        """Let the step act; the sentence of the outcome.

        Raises:
            Failed: it was refused, failed, or is no longer about what was seen.
        """
        if step.look is not None and values.needs(do, steps.LOOKED):
            if known.looked is None:
                raise Failed(f"{step.look.probe} found nothing, so there is nothing to {do.verb}")
            if known.go_intent_id is not None and known.intent_id is None:
                await self._sight.same(step.look, known.looked)
        number = known.intent_id
        if number is None:
            number = await actions.ask(
                self._home, self._run, step.name, do, why=await self._why(),
                expected_version=known.expected_version,
                seen={steps.LOOKED: known.looked, **self._typed},
            )  # fmt: skip
            await self._journal.note(step, at, intent_id=number)
        return await self._outcome(Kind.ACTED, do, step, number)

    async def undo(self, step: Step, known: run_steps.Step) -> str:
        """Take back what the step changed; what became of it, in words.

        Raises:
            Failed: it was changed by another since, or the undo was refused or failed.
        """
        acted = known.intent_id
        if acted is None or not await self._box.read(lambda s: undo_plan.changes(s, acted)):
            return "there was nothing to undo"
        undo = undo_plan.undo_of(step, acted, known.looked)
        if undo is None:
            raise Failed("the step has no undo")

        async def prove(s: Session) -> None:
            await undo_plan.unchanged(s, step.name, acted, await undo_plan.asked_by(s, self._run))

        try:
            await self._box.read(prove)
        except Refused as refused:
            raise Failed(f"not undone: {refused}") from refused
        number = await actions.ask(
            self._home, self._run, f"{step.name} (undo)", undo, why=await self._why(),
            expected_version=None, seen=self._typed,
        )  # fmt: skip
        said = await self._outcome(Kind.UNDONE, undo, step, number)
        return f"undone: {said or undo.verb}"

    async def _outcome(self, kind: Kind, do: Do, step: Step, number: int) -> str | None:
        store = self._box.store
        ended = await self._box.patiently(lambda: client.wait(store, number, OUTCOME_S))
        said = ended.outcome or f"intent {number} has not ended within {OUTCOME_S:.0f} s"
        await self._journal.acted(kind, f"{do.verb}: {said}", step.name, number)
        if ended.state is not intents.State.APPLIED:
            raise Failed(said if kind is Kind.ACTED else f"not undone: {said}")
        return ended.outcome

    async def _why(self) -> str:
        """The reason that was given for this walk, else the one for the run."""
        if self._driver.reason or self._driver.id == self._run.intent_id:
            return self._driver.reason
        return (await self._box.read(lambda s: intents.find(s, self._run.intent_id))).reason
