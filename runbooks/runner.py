"""Claims the intents of runs and walks each run until it ends or waits for a person.

A run is walked for one intent, which ends when the walk does. Killed at any instant, the runner
claims that intent again and goes on where the run was. Imported by `runbooks.__main__`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

import msgspec
import structlog

from runbooks import automation, decisions, start_request, steps, undo_plan
from runbooks.drills.perform import Drilling
from runbooks.drills.site import Broken
from runbooks.start_request import Refused
from runbooks.steps import Runbook
from runbooks.walk import BY, Aborted, Ended, Stop, Walk
from storage import alert_events, automations, errors, intents, run_events, runs
from storage.control_socket import verbs
from storage.control_socket.nudges import Listener
from storage.control_socket.verbs import Process
from storage.intents import Intent
from storage.run_events import Kind
from storage.runs import Pace, Run, State
from storage.store import Session, Store

LOOK_S: Final = 4.0
_AGAIN_S: Final = 2.0
_AUTOMATE: Final = "runbooks.automate"
_DRILL: Final = "drills.start"
_START: Final = "runbooks.start"
_UNDO: Final = "runbooks.undo"
_VERBS: Final = verbs.carried_out_by(Process.RUNNER)

T = TypeVar("T")
Work = Callable[[Session], Awaitable[T]]

_log = structlog.get_logger("runner")


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
        self.store = store
        self.now_us = now_us
        self._books = books
        self._again_s = again_s
        self._news = asyncio.Event()
        self._beginning = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._aborting: dict[int, Intent] = {}
        self._aborts: dict[int, asyncio.Event] = {}

    async def run(self, listener: Listener) -> None:
        """Claim runs and walk them until cancelled; the next start resumes those interrupted."""
        try:
            await self.write(lambda s: intents.reclaim(s, BY, self.now_us()))
            while True:
                await self._automate()
                await self._take()
                await listener.wait(timeout_s=LOOK_S)
                self._news.set()
                self._news.clear()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def read(self, work: Work[T]) -> T:
        """Do it on one snapshot; it waits where the store cannot be read."""

        async def look() -> T:
            async with self.store.read() as session:
                return await work(session)

        return await self.patiently(look)

    async def write(self, work: Work[T]) -> T:
        """Do it in one durable transaction; it waits where the store cannot be written."""
        return await self.patiently(lambda: self.store.write(work, durable=True))

    async def patiently(self, do: Callable[[], Awaitable[T]]) -> T:
        """Retry while the store cannot be used: a run does not end half-way for that."""
        while True:
            try:
                return await do()
            except errors.Unavailable as error:
                _log.warning("a run waits for the store", error=str(error))
                await asyncio.sleep(self._again_s)

    async def news(self, timeout_s: float) -> None:
        """Wait until something may have changed, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return

    async def _take(self) -> None:
        """Begin everything that was asked for."""
        try:
            while (intent := await self._claim()) is not None:
                task = asyncio.create_task(self._carefully(intent))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except errors.Unavailable as error:
            _log.warning("runs wait for the store", error=str(error))

    async def _automate(self) -> None:
        """Start what an operator lets start by itself, for the alerts that fired meanwhile."""
        try:
            async with self.store.read() as s:
                enabled = await automations.every(s)
                newest = await alert_events.newest(s) if enabled else 0
            behind = [each for each in enabled if each.event_id < newest]
            if not behind:
                return
            books = await asyncio.to_thread(self._books)
            for each in behind:
                work = partial(automation.look, automation=each, books=books, now_us=self.now_us())
                for decision in await self.store.write(work, durable=True):
                    _log.info("an alert fired", runbook=each.runbook, said=decision.sentence)
        except errors.Unavailable as error:
            _log.warning("automation waits for the store", error=str(error))

    async def _claim(self) -> Intent | None:
        async def work(s: Session) -> Intent | None:
            return await intents.claim(s, verbs=_VERBS, by=BY, at_us=self.now_us())

        return await self.store.write(work, durable=True, nudge=False)

    async def _carefully(self, intent: Intent) -> None:
        """Carry one intent out; a fault of the runner ends that run, never the others."""
        try:
            if intent.verb == decisions.ABORT:
                await self._abort(intent)
            elif intent.verb == _DRILL:
                said = await Drilling(self, self.store.home, intent).go()
                await self._end(intent, intents.State.APPLIED, said)
            elif intent.verb in decisions.DRIVING or intent.verb in {_START, _UNDO}:
                await self._drive(intent)
            else:
                await self._tell(intent)
        except Refused as refused:
            await self._end(intent, intents.State.REFUSED, str(refused))
        except Broken as broken:
            await self._end(intent, intents.State.FAILED, str(broken))
        except Exception as error:  # noqa: BLE001
            _log.exception("a run failed", intent=intent.id)
            said = f"The runner failed ({type(error).__name__}: {error}); runner.log has the trace."
            await self._end(intent, intents.State.FAILED, said)

    async def _tell(self, intent: Intent) -> None:
        """A decision and the end of its intent, in one transaction."""
        books = await asyncio.to_thread(self._books) if intent.verb == _AUTOMATE else {}

        async def work(s: Session) -> None:
            if intent.verb == _AUTOMATE:
                on = verbs.parse(intent.verb, intent.arguments).on
                book = books.get(intent.target)
                try:
                    said = await automation.enable(s, intent, book, on=on, now_us=self.now_us())
                except automation.Unable as unable:
                    raise Refused(str(unable)) from unable
            else:
                said = await decisions.tell(s, intent, self.now_us())
            await intents.end(s, intent.id, intents.State.APPLIED, said, self.now_us(), by=BY)

        await self.write(work)

    async def _abort(self, intent: Intent) -> None:
        """End a run: at once where it waits, else as soon as its walk lets it."""
        run = await self.write(lambda s: decisions.abort(s, intent, self.now_us()))
        if run.state is State.RUNNING:
            self._aborting[run.id] = intent
            self._stopping(run.id).set()
            self._news.set()
            self._news.clear()
            while run.state is State.RUNNING:
                await self.news(LOOK_S)
                run = await self.read(partial(runs.find, id=run.id))
        if run.state is not State.ABORTED:
            raise Refused(f"Run {run.id} has ended before that: it is {run.state}.")
        hint = await self._undo_hint(run)
        said = f"{run.runbook}, run {run.id}: {run.reason}.{hint}"
        await self._end(intent, intents.State.APPLIED, said)

    def _stopping(self, run_id: int) -> asyncio.Event:
        return self._aborts.setdefault(run_id, asyncio.Event())

    async def _drive(self, intent: Intent) -> None:
        """Walk the run of an intent until it ends or waits."""
        if intent.verb in decisions.DRIVING:
            run = await self.write(lambda s: decisions.drive(s, intent, self.now_us()))
            book = await self._walked(run)
            if book is None:
                raise Refused(f"{run.runbook} was changed since run {run.id} began; abort the run.")
        else:
            book, run = await self._begin(intent)
        if run.state is not State.RUNNING:
            await self._end(intent, intents.State.APPLIED, run.reason or f"run {run.id}")
            return
        if run.book is None and run.content != steps.content(book):
            said = f"{book.name} was changed since run {run.id} began; start it again."
            await self._end(intent, intents.State.FAILED, said)
            return
        walk = Walk(self, self.store.home, book, run, intent, self._stopping(run.id))
        try:
            ended = await walk.go()
        except Stop as stop:
            await self._wait(intent, book, run, stop)
        except Aborted:
            by = self._aborting[run.id]
            said = decisions.aborted(by)
            await self._end(
                intent, intents.State.FAILED, f"{book.name}, run {run.id}: {said}.",
                run=(run, State.ABORTED, said, by),
            )  # fmt: skip
        else:
            await self._finish(intent, book, run, ended)

    async def _walked(self, run: Run) -> Runbook | None:
        books: Mapping[str, Runbook | str] = {}
        if run.book is None:
            books = await asyncio.to_thread(self._books)
        return undo_plan.walked(run, books)

    async def _begin(self, intent: Intent) -> tuple[Runbook, Run]:
        """The runbook that an intent asks for, as it is now, and its run; one intent at a time."""
        async with self._beginning:
            begun = await self.read(lambda s: runs.of_intent(s, intent.id))
            if begun is not None and begun.book is not None:
                return msgspec.json.decode(begun.book, type=Runbook), begun
            known = await asyncio.to_thread(self._books)
            pace, alone = Pace.THROUGH, None
            if intent.verb == _UNDO:
                plan = partial(
                    undo_plan.planned, books=known, of=intent.target, intent_id=intent.id
                )
                book, inputs = await self.read(plan)
            else:
                book, given = start_request.chosen(known, intent)
                second = self.now_us() // 1_000_000
                inputs = await self.read(
                    partial(start_request.complete, book=book, given=given, second=second)
                )
                asked = verbs.parse(intent.verb, intent.arguments)
                alone = automation.alone(book, intent)
                pace = Pace(asked.pace or book.pace) if alone is None else Pace.ALONE

            async def begin(s: Session) -> Run:
                run = await runs.begin(
                    s, runbook=book.name, intent_id=intent.id, actor=intent.actor, inputs=inputs,
                    content=steps.content(book), at_us=self.now_us(), pace=pace,
                    alone=alone or (), taken_by=intent.actor if alone is None else None,
                    book=msgspec.json.encode(book).decode(),
                )  # fmt: skip
                await run_events.add(
                    s, run.id, Kind.BEGAN, intent.reason, actor=intent.actor,
                    at_us=self.now_us(), intent_id=intent.id,
                )  # fmt: skip
                return run

            return book, await self.write(begin)

    async def _wait(self, intent: Intent, book: Runbook, run: Run, stop: Stop) -> None:
        """The run waits from now on, and its intent has ended: in one transaction."""
        at = [step.name for step in book.steps].index(stop.step) + 1
        now = self.now_us()

        async def work(s: Session) -> None:
            step = f"step {at} of {len(book.steps)}, {stop.step}"
            await runs.stay(s, run, stop.waits, stop.step, at_us=now)
            await run_events.add(
                s, run.id, Kind.WAITS, stop.sentence, actor=BY, at_us=now, step=stop.step
            )
            needs = decisions.needs(await runs.find(s, run.id))
            said = f"{book.name}, run {run.id}, waits at {step}: {stop.sentence.rstrip('.')}. "
            await intents.end(s, intent.id, intents.State.APPLIED, said + needs, now, by=BY)

        await self.write(work)
        _log.info("a run waits", run=run.id, step=stop.step, for_=stop.waits.value)

    async def _finish(self, intent: Intent, book: Runbook, run: Run, ended: Ended) -> None:
        if not ended.well:
            await self._end(intent, intents.State.FAILED, f"{book.name}: {ended.sentence}")
            return
        undo = any(step.undo is not None for step in book.steps)
        hint = await self._undo_hint(run) if undo else ""
        said = f"{book.name}, run {run.id}: all steps succeeded.{ended.sentence}{hint}"
        await self._end(intent, intents.State.APPLIED, said)

    async def _undo_hint(self, run: Run) -> str:
        changed = await self.read(lambda s: undo_plan.changed(s, run))
        return f" `paddock runbooks undo {run.id}` reverts them." if changed else ""

    async def _end(
        self, intent: Intent, state: intents.State, sentence: str,
        *, run: tuple[Run, State, str, Intent] | None = None,
    ) -> None:  # fmt: skip
        """End the intent, and the run that it drives if there is one, in one transaction."""
        now = self.now_us()

        async def work(s: Session) -> None:
            known = await runs.driven(s, intent.id)
            if known is not None and known.state is State.RUNNING:
                well = state is intents.State.APPLIED
                to, said, by = State.DONE if well else State.FAILED, sentence, BY
                if run is not None:
                    to, said, by = run[1], run[2], run[3].actor
                await run_events.add(
                    s, known.id, Kind.ENDED, said, actor=by, at_us=now,
                    intent_id=None if run is None else run[3].id,
                )  # fmt: skip
                await runs.end(s, known.id, to, reason=said, at_us=now, actor=by)
            await intents.end(s, intent.id, state, sentence, now, by=BY)

        await self.write(work)
        _log.info("an intent of a run ended", intent=intent.id, state=state.value, said=sentence)
