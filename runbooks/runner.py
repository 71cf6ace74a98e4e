"""Walks the steps of runs: look, do, verify. All of a run's state is in the store.

Killed at any instant, it resumes at the first step that has not ended; a step is verified against
what it saw before it acted. It acts only through intents. Imported by `runbooks.__main__`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from runbooks import actions, start_request, steps, undo_plan
from runbooks.probes import PROBES
from runbooks.steps import Look, Runbook, Step, Value, Verify
from storage import errors, intents, runs
from storage.control_socket import client, verbs
from storage.control_socket.nudges import Listener
from storage.control_socket.verbs import Process
from storage.intents import Intent
from storage.runs import Run
from storage.store import Session, Store

BY: Final = Process.RUNNER.value
LOOK_S: Final = 4.0
OUTCOME_S: Final = 60.0
_VERIFY_S: Final = 1.0
_AGAIN_S: Final = 2.0
_UNDO: Final = "runbooks.undo"
_VERBS: Final = verbs.carried_out_by(Process.RUNNER)

T = TypeVar("T")
Work = Callable[[Session], Awaitable[T]]

_log = structlog.get_logger("runner")


class Failed(Exception):
    """A step failed; the message says why."""


class Runner:
    """All runs in progress. `books` reads the runbooks by name, or what is wrong with one."""

    def __init__(
        self,
        store: Store,
        books: Callable[[], Mapping[str, Runbook | str]],
        *,
        now_us: Callable[[], int],
        again_s: float = _AGAIN_S,
    ) -> None:
        self._store = store
        self._books = books
        self._now_us = now_us
        self._again_s = again_s
        self._news = asyncio.Event()
        self._beginning = asyncio.Lock()
        self._runs: set[asyncio.Task[None]] = set()

    async def run(self, listener: Listener) -> None:
        """Claim runs and walk them until cancelled; the next start resumes those interrupted."""
        try:
            await self._write(lambda s: intents.reclaim(s, BY, self._now_us()))
            while True:
                await self._take()
                await listener.wait(timeout_s=LOOK_S)
                self._news.set()
                self._news.clear()
        finally:
            for task in self._runs:
                task.cancel()
            await asyncio.gather(*self._runs, return_exceptions=True)

    async def _take(self) -> None:
        """Begin every run that was asked for."""
        try:
            while (intent := await self._claim()) is not None:
                task = asyncio.create_task(self._carefully(intent))
                self._runs.add(task)
                task.add_done_callback(self._runs.discard)
        except errors.Unavailable as error:
            _log.warning("runs wait for the store", error=str(error))

    async def _carefully(self, intent: Intent) -> None:
        """Walk a run; a fault of the runner ends that run, never the others."""
        try:
            await self._walk(intent)
        except Exception as error:  # noqa: BLE001
            _log.exception("a run failed", intent=intent.id)
            said = f"The runner failed ({type(error).__name__}: {error}); runner.log has the trace."
            await self._end(intent, intents.State.FAILED, said)

    async def _claim(self) -> Intent | None:
        async def work(s: Session) -> Intent | None:
            return await intents.claim(s, verbs=_VERBS, by=BY, at_us=self._now_us())

        return await self._store.write(work, durable=True, nudge=False)

    async def _write(self, work: Work[T]) -> T:
        return await self._patiently(lambda: self._store.write(work, durable=True))

    async def _read(self, work: Work[T]) -> T:
        async def look() -> T:
            async with self._store.read() as session:
                return await work(session)

        return await self._patiently(look)

    async def _patiently(self, do: Callable[[], Awaitable[T]]) -> T:
        """Retry while the store cannot be used: a run does not end half-way for that."""
        while True:
            try:
                return await do()
            except errors.Unavailable as error:
                _log.warning("a run waits for the store", error=str(error))
                await asyncio.sleep(self._again_s)

    async def _walk(self, intent: Intent) -> None:
        """Walk one run from its first unfinished step to its end."""
        try:
            book, run = await self._begin(intent)
        except start_request.Refused as refused:
            await self._end(intent, intents.State.REFUSED, str(refused))
            return
        if run.content != steps.content(book):
            said = f"{book.name} was changed since run {run.id} began; start it again."
            await self._end(intent, intents.State.FAILED, said)
            return
        outcomes = []
        begun = {step.name: step for step in await self._read(lambda s: runs.steps(s, run.id))}
        for position, step in enumerate(book.steps):
            before = begun.get(step.name)
            if before is not None and before.ended_at_us is not None:
                outcomes += [before.sentence] if step.do is not None and before.sentence else []
                continue
            try:
                said = await self._step(run, step, position, before)
            except (Failed, errors.StorageError) as error:
                said = f"step {step.name}: {error}"
                await self._note(run, step, position, sentence=str(error), ended=True)
                await self._end(intent, intents.State.FAILED, f"{book.name}: {said}")
                return
            await self._note(run, step, position, sentence=said, ended=True)
            if step.do is not None:
                outcomes.append(said)
        undo = any(step.undo is not None for step in book.steps)
        undo = undo and bool(await self._read(lambda s: undo_plan.changed(s, run)))
        hint = f" `paddock runbooks undo {run.id}` reverts them." if undo else ""
        did = "".join(f" {each.rstrip('.')}." for each in outcomes)
        said = f"{book.name}, run {run.id}: all steps succeeded.{did}{hint}"
        await self._end(intent, intents.State.APPLIED, said)

    async def _begin(self, intent: Intent) -> tuple[Runbook, Run]:
        """The runbook that an intent asks for, as it is now, and its run; one intent at a time."""
        async with self._beginning:
            known = await asyncio.to_thread(self._books)
            if intent.verb == _UNDO:
                plan = partial(
                    undo_plan.planned, books=known, of=intent.target, intent_id=intent.id
                )
                book, inputs = await self._read(plan)
            else:
                book, inputs = start_request.chosen(known, intent)
            begin = partial(
                runs.begin, runbook=book.name, intent_id=intent.id, actor=intent.actor,
                inputs=inputs, content=steps.content(book), at_us=self._now_us(),
            )  # fmt: skip
            return book, await self._write(begin)

    async def _step(self, run: Run, step: Step, position: int, before: runs.Step | None) -> str:
        """Look, do, verify; returns the sentence that the step ends with."""
        known = before
        if known is None or (known.looked is None and known.intent_id is None):
            known = await self._look(run, step, position)
        said = "" if step.look is None else steps.report(step.look, known.looked)
        if step.do is not None:
            said = await self._do(run, step, step.do, position, known) or said
        if step.verify is not None:
            await self._verify(run, step.verify, known.looked)
        return said

    async def _look(self, run: Run, step: Step, position: int) -> runs.Step:
        """Record what the step looks at and the version of what it changes, in one snapshot."""

        async def look(s: Session) -> dict[str, Any]:
            seen: dict[str, Any] = {}
            if (looked := step.look) is not None:
                value = await self._probe(s, looked, run)
                seen |= {"looked": value, "as_expected": steps.as_expected(value, looked.expected)}
            if step.do is not None:
                seen["expected_version"] = await actions.version(s, run, step.do)
            return seen

        return await self._note(run, step, position, **await self._read(look))

    async def _do(
        self, run: Run, step: Step, do: steps.Do, position: int, known: runs.Step
    ) -> str | None:
        """Ask for the action and wait for its outcome."""
        if step.look is not None and steps.needs(do, steps.LOOKED) and known.looked is None:
            raise Failed(f"{step.look.probe} found nothing, so there is nothing to {do.verb}")
        asked = await self._read(lambda s: intents.find(s, run.intent_id))
        number = await actions.ask(
            self._store.home, run, step.name, do, why=asked.reason,
            expected_version=known.expected_version, seen={steps.LOOKED: known.looked},
        )  # fmt: skip
        await self._note(run, step, position, intent_id=number)
        ended = await self._patiently(lambda: client.wait(self._store, number, OUTCOME_S))
        if ended.state is not intents.State.APPLIED:
            raise Failed(ended.outcome or f"intent {number} has not ended within {OUTCOME_S:.0f} s")
        return ended.outcome

    async def _verify(self, run: Run, verify: Verify, looked: Value) -> None:
        until = time.monotonic() + verify.timeout_s
        while True:
            found = await self._read(lambda s: self._probe(s, verify, run))
            if steps.as_expected(found, verify.expected, looked):
                return
            left = until - time.monotonic()
            if left <= 0:
                wanted = looked if verify.expected == steps.LOOKED else verify.expected
                raise Failed(
                    f"{verify.probe} is {found} after {verify.timeout_s:g} s (expected {wanted})"
                )
            try:
                async with asyncio.timeout(min(left, _VERIFY_S)):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _probe(self, s: Session, look: Look | Verify, run: Run) -> Value:
        second = self._now_us() // 1_000_000
        return await PROBES[look.probe](s, steps.filled(look.of, run.inputs), look.window_s, second)

    async def _note(
        self, run: Run, step: Step, position: int, *, ended: bool = False, **seen: Any
    ) -> runs.Step:
        now = self._now_us()
        if ended:
            seen["ended_at_us"] = now
        return await self._write(lambda s: runs.note(s, run.id, step.name, position, now, **seen))

    async def _end(self, intent: Intent, state: intents.State, sentence: str) -> None:
        """End the intent, and its run if one was begun, in one transaction."""
        now = self._now_us()

        async def work(s: Session) -> None:
            run = await runs.of_intent(s, intent.id)
            if run is not None and run.state is runs.State.RUNNING:
                well = state is intents.State.APPLIED
                to = runs.State.DONE if well else runs.State.FAILED
                await runs.end(s, run.id, to, reason=sentence, at_us=now)
            await intents.end(s, intent.id, state, sentence, now, by=BY)

        await self._write(work)
        _log.info("a run ended", intent=intent.id, state=state.value, said=sentence)
