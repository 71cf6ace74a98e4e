"""What a walk records: the state of each step, and the timeline of the run.

Each note is one durable transaction, so a killed walk resumes after the last of them. Imported by
`runbooks.walk`.
"""

from __future__ import annotations

from typing import Any

from runbooks.steps import Step
from runbooks.walk.box import BY, Box
from storage import run_events, run_steps
from storage.intents import Intent
from storage.run_events import Kind
from storage.runs import Run
from storage.store import Session


class Journal:
    """The journal of one run, for the intent that drives it."""

    def __init__(self, box: Box, run: Run, driver: Intent) -> None:
        self._box = box
        self._run = run
        self._driver = driver

    async def note(
        self,
        step: Step,
        at: int,
        *,
        event: tuple[Kind, str] | None = None,
        ended: bool = False,
        **known: Any,
    ) -> run_steps.Step:
        """Record what is known of a step, which is number `at`, with what happened."""
        now = self._box.now_us()
        if ended:
            known["ended_at_us"] = now

        async def work(s: Session) -> run_steps.Step:
            if event is not None:
                await run_events.add(
                    s, self._run.id, event[0], event[1], actor=BY, at_us=now, step=step.name
                )
            return await run_steps.note(s, self._run.id, step.name, at, now, **known)

        return await self._box.write(work)

    async def acted(self, kind: Kind, said: str, step: str, intent_id: int) -> None:
        """Record how an intent of a step ended, in the name of the person who drives the run."""

        async def work(s: Session) -> None:
            await run_events.add(
                s, self._run.id, kind, said, actor=self._driver.actor, at_us=self._box.now_us(),
                step=step, intent_id=intent_id,
            )  # fmt: skip

        await self._box.write(work)
