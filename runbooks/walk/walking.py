"""Walks one run from its first unfinished step until it ends or waits for a person.

All that it knows is in the store: killed at any instant, the next walk continues at the same place.
It acts only through intents. Imported by `runbooks.driving`.
"""

from __future__ import annotations

import asyncio

from runbooks import conditions, foresight, steps, values
from runbooks.steps import Runbook, Step, Unmet, Verify
from runbooks.walk.acting import Acting
from runbooks.walk.box import Box
from runbooks.walk.endings import Ended, Failed, Stop
from runbooks.walk.journal import Journal
from runbooks.walk.sight import Sight
from storage import errors, run_steps
from storage.home.paths import Home
from storage.intents import Intent
from storage.run_events import Kind
from storage.run_steps import Result
from storage.runs import Pace, Run, Waits


class Walk:
    """One walk of a run, for the intent that drives it. `aborting` is set to end it early."""

    def __init__(
        self, box: Box, home: Home, book: Runbook, run: Run, driver: Intent,
        aborting: asyncio.Event,
    ) -> None:  # fmt: skip
        self._box = box
        self._book = book
        self._run = run
        self._typed = values.typed(book, run.inputs)
        self._journal = Journal(box, run, driver)
        self._sight = Sight(box, run, aborting)
        self._acting = Acting(
            box, home, run, driver, journal=self._journal, sight=self._sight, typed=self._typed
        )

    async def go(self) -> Ended:
        """Walk to the end.

        Raises:
            Stop: a person has to decide; the run is to wait.
            Aborted: it was to end early.
        """
        known = {
            step.name: step
            for step in await self._box.read(lambda s: run_steps.of(s, self._run.id))
        }
        names = [step.name for step in self._book.steps]
        outcomes: list[str] = []
        at = 0
        while at < len(names):
            step = self._book.steps[at]
            now = known.get(step.name)
            if now is None or now.ended_at_us is None:
                try:
                    now = await self._step(step, at, now)
                except (Failed, errors.StorageError, ValueError) as error:
                    return await self._failed(step, at, str(error))
            if step.do is not None and now.outcome != Result.SKIPPED and now.sentence:
                outcomes.append(now.sentence)
            if now.goto == steps.END:
                break
            at = at + 1 if now.goto is None else names.index(now.goto)
        return Ended(True, "".join(f" {each.rstrip('.')}." for each in outcomes))

    async def _failed(self, step: Step, at: int, said: str) -> Ended:
        """A step that fails ends the run, or a person decides."""
        through = self._run.pace is Pace.THROUGH
        await self._journal.note(
            step, at, event=(Kind.STEP_FAILED, said), ended=through, sentence=said,
            outcome=Result.FAILED,
        )  # fmt: skip
        if not through:
            raise Stop(Waits.DECIDE, step.name, said)
        return Ended(False, f"step {step.name}: {said}")

    async def _step(self, step: Step, at: int, before: run_steps.Step | None) -> run_steps.Step:
        """Look, decide, act, verify, take back, branch; returns the step as it ended."""
        self._sight.heed()
        known = before
        if known is not None and known.outcome == Result.FAILED:  # killed before it waited
            raise Stop(Waits.DECIDE, step.name, known.sentence or "")
        if known is not None and known.outcome == Result.UNDOING:
            return await self._take_back(step, at, known)
        if known is None or _unseen(known):
            known = await self._look(step, at)
        if (why := await self._unneeded(step, known)) is not None:
            return await self._end(step, at, known, why, Result.SKIPPED)
        if known.go_intent_id is None and known.intent_id is None:
            await self._stop(step, known)
        said = known.sentence or ""
        if step.look is not None and not said:
            said = values.report(step.look, known.looked, self._sight.wanted(step.look))
        if step.do is not None:
            said = await self._acting.do(step, step.do, at, known) or said
        self._sight.heed()
        if step.verify is None:
            return await self._end(step, at, known, said, Result.DONE)
        return await self._verify(step, step.verify, at, known, said)

    async def _verify(
        self, step: Step, verify: Verify, at: int, known: run_steps.Step, said: str
    ) -> run_steps.Step:
        """Wait for what the step is for; without it the step fails, ends, or is taken back."""
        met, found, after = await self._sight.verified(verify, known.looked)
        event = (Kind.VERIFIED, found)
        if met:
            known = await self._journal.note(step, at, event=event, after=after)
            return await self._end(step, at, known, said, Result.DONE, verified=True)
        said = f"{said.rstrip('.')}; {found}"
        if verify.unmet is Unmet.UNDO:
            known = await self._journal.note(
                step, at, event=event, after=after, sentence=said, outcome=Result.UNDOING
            )
            return await self._take_back(step, at, known)
        known = await self._journal.note(step, at, event=event, after=after)
        if verify.unmet is Unmet.FAIL:
            raise Failed(found)
        return await self._end(step, at, known, said, Result.DONE, verified=False)

    async def _take_back(self, step: Step, at: int, known: run_steps.Step) -> run_steps.Step:
        """The verify of a step was not met: undo what it did, and end it."""
        undone = await self._acting.undo(step, known)
        said = f"{(known.sentence or '').rstrip('.')}; {undone}"
        return await self._end(step, at, known, said, Result.UNDONE, verified=False)

    async def _look(self, step: Step, at: int) -> run_steps.Step:
        """Record what the step sees before it acts."""
        seen = await self._sight.first(step)
        event = None
        if step.look is not None:
            said = values.report(step.look, seen["looked"], self._sight.wanted(step.look))
            event = (Kind.LOOKED, said)
        return await self._journal.note(step, at, event=event, **seen)

    async def _unneeded(self, step: Step, known: run_steps.Step) -> str | None:
        """Why the step does nothing; None where it is needed or was begun."""
        if step.when is None or known.intent_id is not None or known.go_intent_id is not None:
            return None
        holds, said = await self._box.read(
            lambda s: conditions.holds(s, step.when, self._sight.facts(step, known))
        )
        return None if holds else f"not needed: {said}"

    async def _stop(self, step: Step, known: run_steps.Step) -> None:
        """Wait for a person where the step or the pace of the run asks for one."""
        run, stop_at = self._run, self._book.on and self._book.on.stop_at
        if step.ask is not None:
            raise Stop(Waits.CONFIRM, step.name, values.filled(step.ask.sentence, run.inputs))
        alone = run.pace is Pace.ALONE
        if alone and step.name == stop_at and step.do is None:
            raise Stop(Waits.NEXT, step.name, step.sentence)
        if step.do is None or run.pace is Pace.THROUGH:
            return
        if alone and step.name in run.alone and step.name != stop_at:
            return
        do = step.do
        effect = await self._box.read(
            lambda s: foresight.effect(
                s, do, run.inputs, {steps.LOOKED: known.looked, **self._typed}
            )
        )
        raise Stop(Waits.NEXT, step.name, effect)

    async def _end(
        self, step: Step, at: int, known: run_steps.Step, said: str, outcome: Result,
        *, verified: bool | None = None,
    ) -> run_steps.Step:  # fmt: skip
        """The step ends; the first branch whose condition holds says where the run continues."""
        goto, event = None, None
        if outcome is Result.SKIPPED:
            event = (Kind.SKIPPED, said)
        else:
            facts = self._sight.facts(step, known, verified=verified)
            for branch in step.branch:
                holds, why = await self._box.read(
                    lambda s, c=branch.condition: conditions.holds(s, c, facts)  # type: ignore[misc]
                )
                if holds:
                    goto, event = branch.to, (Kind.BRANCHED, f"{why}: on to {branch.to}")
                    break
        return await self._journal.note(
            step, at, event=event, ended=True, sentence=said, outcome=outcome, goto=goto
        )


def _unseen(known: run_steps.Step) -> bool:
    return (
        known.looked is None
        and known.expected_version is None
        and known.intent_id is None
        and known.go_intent_id is None
    )
