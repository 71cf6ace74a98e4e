"""Walks one run from its first unfinished step until it ends or waits for a person.

Look, decide whether the step is needed, let a person decide, act, verify, branch. All that it knows
is in the store: killed at any instant, the next walk goes on at the same place. It acts only
through intents. Imported by `runbooks.runner`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from runbooks import actions, conditions, foresight, steps, values
from runbooks.probes import PROBES
from runbooks.steps import Look, Runbook, Step, Unmet, Verify
from runbooks.values import Value
from storage import errors, intents, run_events, run_steps
from storage.control_socket import client
from storage.home.paths import Home
from storage.intents import Intent
from storage.run_events import Kind
from storage.runs import Pace, Run, Waits
from storage.store import Session, Store

OUTCOME_S: Final = 60.0
_VERIFY_S: Final = 1.0
BY: Final = "runner"

T = TypeVar("T")
Work = Callable[[Session], Awaitable[T]]


class Box(Protocol):
    """The store as a walk uses it: it waits where the store cannot be used."""

    store: Store
    now_us: Callable[[], int]

    async def read(self, work: Work[T]) -> T:
        """Do it on one snapshot."""

    async def write(self, work: Work[T]) -> T:
        """Do it in one durable transaction."""

    async def patiently(self, do: Callable[[], Awaitable[T]]) -> T:
        """Do it, again and again while the store cannot be used."""

    async def news(self, timeout_s: float) -> None:
        """Wait until something may have changed, at most so long."""


class Failed(Exception):
    """A step failed; the message says why."""


class Stop(Exception):
    """The run waits for a person at a step from now on."""

    def __init__(self, waits: Waits, step: str, sentence: str) -> None:
        super().__init__(sentence)
        self.waits = waits
        self.step = step
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Ended:
    """The walk came to the end: well, or at a step that failed."""

    well: bool
    sentence: str


class Aborted(Exception):
    """A person ended the run while it was walked."""


class Walk:
    """One walk of a run, for the intent that drives it. `aborting` is set to end it early."""

    def __init__(
        self, box: Box, home: Home, book: Runbook, run: Run, driver: Intent,
        aborting: asyncio.Event,
    ) -> None:  # fmt: skip
        self._box = box
        self._home = home
        self._book = book
        self._run = run
        self._driver = driver
        self._aborting = aborting
        self._typed = values.typed(book, run.inputs)

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
            if step.do is not None and now.outcome != Done.SKIPPED and now.sentence:
                outcomes.append(now.sentence)
            if now.goto == steps.END:
                break
            at = at + 1 if now.goto is None else names.index(now.goto)
        return Ended(True, "".join(f" {each.rstrip('.')}." for each in outcomes))

    async def _failed(self, step: Step, at: int, said: str) -> Ended:
        """A step that fails ends the run, or a person decides."""
        through = self._run.pace is Pace.THROUGH
        await self._note(
            step, at, event=(Kind.STEP_FAILED, said), ended=through, sentence=said,
            outcome=Done.FAILED,
        )  # fmt: skip
        if not through:
            raise Stop(Waits.DECIDE, step.name, said)
        return Ended(False, f"step {step.name}: {said}")

    async def _step(self, step: Step, at: int, before: run_steps.Step | None) -> run_steps.Step:
        """Look, decide, act, verify, branch; returns the step as it ended."""
        self._go_on()
        known = before
        if known is not None and known.outcome == Done.FAILED:  # cut off before it waited
            raise Stop(Waits.DECIDE, step.name, known.sentence or "")
        if known is None or _unseen(known):
            known = await self._look(step, at)
        if (why := await self._unneeded(step, known)) is not None:
            return await self._end(step, at, known, why, Done.SKIPPED)
        if known.go_intent_id is None and known.intent_id is None:
            await self._stop(step, known)
        said = known.sentence or ""
        if step.look is not None and not said:
            said = values.report(step.look, known.looked, self._wanted(step.look))
        if step.do is not None:
            said = await self._do(step, step.do, at, known) or said
        self._go_on()
        if step.verify is not None:
            verified, found = await self._verify(step.verify, known.looked)
            known = await self._note(step, at, event=(Kind.VERIFIED, found[0]), after=found[1])
            if not verified and step.verify.unmet is Unmet.FAIL:
                raise Failed(found[0])
            if not verified:
                said = f"{said.rstrip('.')}; {found[0]}"
            return await self._end(step, at, known, said, Done.DONE, verified=verified)
        return await self._end(step, at, known, said, Done.DONE)

    def _go_on(self) -> None:
        if self._aborting.is_set():
            raise Aborted

    async def _look(self, step: Step, at: int) -> run_steps.Step:
        """Record what the step looks at and the version of what it changes, in one snapshot."""

        async def look(s: Session) -> dict[str, Any]:
            seen: dict[str, Any] = {}
            if (looked := step.look) is not None:
                value = await self.probe(s, looked)
                good = values.as_expected(value, self._wanted(looked))
                seen |= {"looked": value, "as_expected": good}
            if step.verify is not None:
                seen["before"] = await self.probe(s, step.verify)
            if step.do is not None:
                seen["expected_version"] = await actions.version(s, self._run, step.do)
            return seen

        seen = await self._box.read(look)
        event = None
        if step.look is not None:
            said = values.report(step.look, seen["looked"], self._wanted(step.look))
            event = (Kind.LOOKED, said)
        return await self._note(step, at, event=event, **seen)

    async def _unneeded(self, step: Step, known: run_steps.Step) -> str | None:
        """Why the step does nothing; None where it is needed or was begun."""
        if step.when is None or known.intent_id is not None or known.go_intent_id is not None:
            return None
        holds, said = await self._box.read(
            lambda s: conditions.holds(s, step.when, self._facts(step, known))
        )
        return None if holds else f"not needed: {said}"

    def _facts(
        self, step: Step, known: run_steps.Step, *, verified: bool | None = None
    ) -> conditions.Facts:
        return conditions.Facts(
            step=step, inputs=self._run.inputs, looked=known.looked,
            as_expected=known.as_expected, verified=verified, probes=PROBES,
            second=self._box.now_us() // 1_000_000,
        )  # fmt: skip

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

    async def _do(
        self, step: Step, do: steps.Do, at: int, known: run_steps.Step
    ) -> str | None:  # fmt: skip
        """Ask for the action and wait for its outcome."""
        if step.look is not None and values.needs(do, steps.LOOKED):
            if known.looked is None:
                raise Failed(f"{step.look.probe} found nothing, so there is nothing to {do.verb}")
            if known.go_intent_id is not None and known.intent_id is None:
                await self._same(step.look, known.looked)
        number = known.intent_id
        if number is None:
            number = await actions.ask(
                self._home, self._run, step.name, do, why=await self._why(),
                expected_version=known.expected_version,
                seen={steps.LOOKED: known.looked, **self._typed},
            )  # fmt: skip
            await self._note(step, at, intent_id=number)
        store = self._box.store
        ended = await self._box.patiently(lambda: client.wait(store, number, OUTCOME_S))
        said = ended.outcome or f"intent {number} has not ended within {OUTCOME_S:.0f} s"
        await self._say(Kind.ACTED, f"{do.verb}: {said}", step.name, number)
        if ended.state is not intents.State.APPLIED:
            raise Failed(said)
        return ended.outcome

    async def _why(self) -> str:
        """The reason that was given for this walk, else the one for the run."""
        if self._driver.reason or self._driver.id == self._run.intent_id:
            return self._driver.reason
        return (await self._box.read(lambda s: intents.find(s, self._run.intent_id))).reason

    async def _same(self, look: Look, looked: Value) -> None:
        """Prove that what a person let the step act on is what it still is."""
        now = await self._box.read(lambda s: self.probe(s, look))
        if now != looked:
            raise Failed(
                f"{look.probe} changed since the step looked: it is {values.shown(now)}, not "
                f"{values.shown(looked)}"
            )

    async def _verify(self, verify: Verify, looked: Value) -> tuple[bool, tuple[str, Value]]:
        """Whether the fact came in time, with what was found, in words and as a value."""
        until = time.monotonic() + verify.timeout_s
        wanted = self._wanted(verify)
        while True:
            found = await self._box.read(lambda s: self.probe(s, verify))
            shown = looked if wanted == steps.LOOKED else wanted
            if values.as_expected(found, wanted, looked):
                return True, (f"{verify.probe} is {found} (expected {shown})", found)
            self._go_on()
            left = until - time.monotonic()
            if left <= 0:
                said = f"{verify.probe} is {found} after {verify.timeout_s:g} s (expected {shown})"
                return False, (said, found)
            await self._box.news(min(left, _VERIFY_S))

    async def probe(self, s: Session, look: Look | Verify) -> Value:
        """What a look sees now."""
        second = self._box.now_us() // 1_000_000
        of = values.filled(look.of, self._run.inputs)
        return await PROBES[look.probe](s, of, look.window_s, second)

    def _wanted(self, look: Look | Verify) -> str | None:
        if look.expected is None:
            return None
        return values.filled(look.expected, self._run.inputs)

    async def _end(
        self, step: Step, at: int, known: run_steps.Step, said: str, outcome: str,
        *, verified: bool | None = None,
    ) -> run_steps.Step:  # fmt: skip
        """The step ends; the first branch whose condition holds says where the run goes on."""
        goto, event = None, None
        if outcome == Done.SKIPPED:
            event = (Kind.SKIPPED, said)
        else:
            facts = self._facts(step, known, verified=verified)
            for branch in step.branch:
                holds, why = await self._box.read(
                    lambda s, c=branch.condition: conditions.holds(s, c, facts)  # type: ignore[misc]
                )
                if holds:
                    goto, event = branch.to, (Kind.BRANCHED, f"{why}: on to {branch.to}")
                    break
        return await self._note(
            step, at, event=event, ended=True, sentence=said, outcome=outcome, goto=goto
        )

    async def _say(self, kind: Kind, said: str, step: str, intent_id: int | None = None) -> None:
        await self._box.write(
            lambda s: run_events.add(
                s, self._run.id, kind, said, actor=self._driver.actor, at_us=self._box.now_us(),
                step=step, intent_id=intent_id,
            )
        )  # fmt: skip

    async def _note(
        self, step: Step, at: int, *, event: tuple[Kind, str] | None = None, ended: bool = False,
        **seen: Any,
    ) -> run_steps.Step:  # fmt: skip
        now = self._box.now_us()
        if ended:
            seen["ended_at_us"] = now

        async def note(s: Session) -> run_steps.Step:
            if event is not None:
                await run_events.add(
                    s, self._run.id, event[0], event[1], actor=BY, at_us=now, step=step.name
                )
            return await run_steps.note(s, self._run.id, step.name, at, now, **seen)

        return await self._box.write(note)


class Done:
    """How a step ended, as it is stored."""

    DONE: Final = "done"
    SKIPPED: Final = "skipped"
    FAILED: Final = "failed"


def _unseen(known: run_steps.Step) -> bool:
    return (
        known.looked is None
        and known.expected_version is None
        and known.intent_id is None
        and known.go_intent_id is None
    )
