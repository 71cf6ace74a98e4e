"""How a drill's fault is acted upon: by its runbook, started by automation or by the drill.

Where an operator lets the runbook start by itself and its alert fired, that run acts first; the
drill is then the person whom it calls, and has its other steps carried out. If it ends and the
fault is still there, because its inputs are those of real load, the drill starts a run with inputs
of its own. Imported by `runbooks.drills.perform`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from runbooks.drills.drill import Fault, Scene
from runbooks.drills.site import Broken
from runbooks.walk.box import Box
from storage import automations, drills, run_steps, runs
from storage.drills import Drill
from storage.intents import Intent
from storage.runs import Run, State, Waits

_AUTOMATIC_S: Final = 20.0
_LOOK_S: Final = 1.0


class Late(Exception):
    """What had to happen did not happen in time."""


class Rescue:
    """The runbook of one drill."""

    def __init__(self, box: Box, drill: Drill, fault: Fault, scene: Scene) -> None:
        self._box = box
        self._drill = drill
        self._fault = fault
        self._scene = scene
        self._led: set[str] = set()
        self._starting: asyncio.Task[Intent] | None = None

    async def act(self) -> None:
        """Start the runbook, unless it starts by itself, and wait for its first action.

        Raises:
            Late: it did nothing in time. Broken: it ended without an action.
        """
        if not await self._automatic():
            await self._start()
        did = await until(self._box, self._first_action, self._fault.recover_s, "acted upon")
        await self._note(acted_at_us=self._box.now_us(), acted_by=did)

    async def over(self) -> str | None:
        """That the fault is over, in words; until then an automatic run is continued."""
        if await self._fault.recovered(self._scene):
            return "the fault is over"
        run = await self._run()
        if run is not None and run.waits_for is Waits.NEXT:
            await self._lead(run)
        elif run is not None and run.state is not State.RUNNING and self._starting is None:
            await self._start()
        return None

    def end(self) -> None:
        """Wait for the start of a run no longer."""
        if self._starting is not None:
            self._starting.cancel()

    async def _automatic(self) -> bool:
        """Whether the runbook started by itself, where an operator lets it."""
        enabled = {each.runbook for each in await self._box.read(automations.every)}
        if self._fault.runbook not in enabled:
            return False
        end = asyncio.get_running_loop().time() + _AUTOMATIC_S
        while asyncio.get_running_loop().time() < end:
            if await self._run() is not None:
                return True
            await self._box.news(_LOOK_S)
        return False

    async def _start(self) -> None:
        asked = {"inputs": await self._fault.inputs(self._scene), "pace": "through"}
        site, book = self._scene.site, self._fault.runbook or ""
        self._starting = asyncio.create_task(site.ask("runbooks.start", book, asked))

    async def _first_action(self) -> str | None:
        run = await self._run()
        if run is None:
            if self._starting is not None and self._starting.done():
                raise Broken(f"{self._fault.runbook}: {self._starting.result().outcome}")
            return None
        if self._drill.run_id != run.id:
            self._drill = await self._note(run_id=run.id)
        acted = [
            step
            for step in await self._box.read(lambda s: run_steps.of(s, run.id))
            if step.intent_id is not None
        ]
        if acted:
            automatic = run.actor == automations.actor(run.runbook)
            by = run.actor if automatic else f"runbook {run.runbook}"
            return f"{by}, step {acted[0].name}"
        if run.waits_for is Waits.NEXT:
            await self._lead(run)
        elif run.ended_at_us is not None or run.waits_for is not None:
            raise Broken(f"run {run.id} of {run.runbook} did nothing: {run.reason or 'it waits'}")
        return None

    async def _lead(self, run: Run) -> None:
        """Let the step at which an automatic run stopped act, once."""
        if run.waits_at is not None and run.waits_at not in self._led:
            self._led.add(run.waits_at)
            await self._scene.site.ask("runbooks.next", str(run.id), {"step": run.waits_at})

    async def _run(self) -> Run | None:
        """The run about the drill's service that began during the drill."""
        for run in await self._box.read(runs.tail):
            ours = run.inputs.get("service") == self._scene.site.name
            if run.runbook == self._fault.runbook and ours:
                return run if run.began_at_us >= self._drill.began_at_us else None
        return None

    async def _note(self, **known: Any) -> Drill:
        return await self._box.write(lambda s: drills.note(s, self._drill.id, **known))


async def until(
    box: Box, found: Callable[[], Awaitable[str | None]], seconds: float, what: str
) -> str:
    """What was found as soon as it was.

    Raises:
        Late: it was not found in time.
    """
    end = asyncio.get_running_loop().time() + seconds
    while (said := await found()) is None:
        if asyncio.get_running_loop().time() >= end:
            raise Late(f"it was not {what} within {seconds:.0f} s")
        await box.news(_LOOK_S)
    return said
