"""Drives a run for one intent: begins it or takes a decision, walks it, records how that ended.

The intent ends when the walk does: the run is done, failed, aborted, or waits for a person. Killed
at any instant, the runner claims the intent again and the run continues where it was. Imported by
`runbooks.runner`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec
import structlog

from runbooks import alert_inputs, automation, decisions, start_request, steps, undo_plan
from runbooks.start_request import Refused
from runbooks.steps import Runbook
from runbooks.walk.box import BY, Box
from runbooks.walk.endings import Aborted, Ended, Stop
from runbooks.walk.walking import Walk
from storage import errors, intents, run_events, runs
from storage.control_socket import verbs
from storage.home.paths import Home
from storage.intents import Intent
from storage.run_events import Kind
from storage.runs import Pace, Run, State
from storage.store import Session

START: Final = "runbooks.start"
UNDO: Final = "runbooks.undo"
VERBS: Final = frozenset({START, UNDO, *decisions.DRIVING})
"""The verbs after which a run is walked."""

LOOK_S: Final = 4.0

_log = structlog.get_logger("runner")


class Driving:
    """The runs that are walked now. `books` reads the runbooks by name, or what is wrong with one.

    `wake` ends all waits of `box.news`.
    """

    def __init__(
        self, box: Box, home: Home, books: Callable[[], Mapping[str, Runbook | str]],
        wake: Callable[[], None],
    ) -> None:  # fmt: skip
        self._box = box
        self._home = home
        self._books = books
        self._wake = wake
        self._beginning = asyncio.Lock()
        self._aborting: dict[int, Intent] = {}
        self._aborts: dict[int, asyncio.Event] = {}

    async def drive(self, intent: Intent) -> None:
        """Walk the run of an intent until it ends or waits.

        Raises:
            Refused: it cannot be started, or the decision is not about what it waits for.
        """
        if intent.verb in decisions.DRIVING:
            run = await self._box.write(lambda s: decisions.drive(s, intent, self._box.now_us()))
            book = await self._walked(run)
            if book is None:
                raise Refused(f"{run.runbook} was changed since run {run.id} began; abort the run.")
        else:
            book, run = await self._begin(intent)
        if run.state is not State.RUNNING:
            await self.end(intent, intents.State.APPLIED, run.reason or f"run {run.id}")
            return
        if run.book is None and run.content != steps.content(book):
            said = f"{book.name} was changed since run {run.id} began; start it again."
            await self.end(intent, intents.State.FAILED, said)
            return
        walk = Walk(self._box, self._home, book, run, intent, self._stopping(run.id))
        try:
            ended = await walk.go()
        except Stop as stop:
            await self._wait(intent, book, run, stop)
        except Aborted:
            by = self._aborting[run.id]
            said = decisions.aborted(by)
            await self.end(
                intent, intents.State.FAILED, f"{book.name}, run {run.id}: {said}.",
                run=(run, State.ABORTED, said, by),
            )  # fmt: skip
        else:
            await self._finish(intent, book, run, ended)

    async def abort(self, intent: Intent) -> None:
        """End a run: at once where it waits, else as soon as its walk lets it.

        Raises:
            Refused: it has ended, or another person holds it.
        """
        run = await self._box.write(lambda s: decisions.abort(s, intent, self._box.now_us()))
        if run.state is State.RUNNING:
            self._aborting[run.id] = intent
            self._stopping(run.id).set()
            self._wake()
            while run.state is State.RUNNING:
                await self._box.news(LOOK_S)
                run = await self._box.read(partial(runs.find, id=run.id))
        if run.state is not State.ABORTED:
            raise Refused(f"Run {run.id} has ended before that: it is {run.state}.")
        hint = await self._undo_hint(run)
        said = f"{run.runbook}, run {run.id}: {run.reason}.{hint}"
        await self.end(intent, intents.State.APPLIED, said)

    async def end(
        self, intent: Intent, state: intents.State, sentence: str,
        *, run: tuple[Run, State, str, Intent] | None = None,
    ) -> None:  # fmt: skip
        """End the intent, and the run that it drives if there is one, in one transaction.

        `run` is how a run ends that a person aborted: it, its state, why, and by which intent.
        """
        now = self._box.now_us()

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

        await self._box.write(work)
        _log.info("an intent of a run ended", intent=intent.id, state=state.value, said=sentence)

    def _stopping(self, run_id: int) -> asyncio.Event:
        return self._aborts.setdefault(run_id, asyncio.Event())

    async def _walked(self, run: Run) -> Runbook | None:
        books: Mapping[str, Runbook | str] = {}
        if run.book is None:
            books = await asyncio.to_thread(self._books)
        return undo_plan.walked(run, books)

    async def _begin(self, intent: Intent) -> tuple[Runbook, Run]:
        """The runbook that an intent asks for, as it is now, and its run; one intent at a time."""
        async with self._beginning:
            begun = await self._box.read(lambda s: runs.of_intent(s, intent.id))
            if begun is not None and begun.book is not None:
                return msgspec.json.decode(begun.book, type=Runbook), begun
            known = await asyncio.to_thread(self._books)
            pace, alone = Pace.THROUGH, None
            if intent.verb == UNDO:
                plan = partial(
                    undo_plan.planned, books=known, of=intent.target, intent_id=intent.id
                )
                book, inputs = await self._box.read(plan)
            else:
                asked = verbs.parse(intent.verb, intent.arguments)
                book, given = start_request.chosen(known, intent, await self._about(asked.alert))
                second = self._box.now_us() // 1_000_000
                inputs = await self._box.read(
                    partial(start_request.complete, book=book, given=given, second=second)
                )
                alone = automation.alone(book, intent)
                pace = Pace(asked.pace or book.pace) if alone is None else Pace.ALONE

            async def begin(s: Session) -> Run:
                now = self._box.now_us()
                run = await runs.begin(
                    s, runbook=book.name, intent_id=intent.id, actor=intent.actor, inputs=inputs,
                    content=steps.content(book), at_us=now, pace=pace,
                    alone=alone or (), taken_by=intent.actor if alone is None else None,
                    book=msgspec.json.encode(book).decode(),
                )  # fmt: skip
                await run_events.add(
                    s, run.id, Kind.BEGAN, intent.reason, actor=intent.actor, at_us=now,
                    intent_id=intent.id,
                )  # fmt: skip
                return run

            return book, await self._box.write(begin)

    async def _about(self, alert: int | None) -> dict[str, str]:
        """What the alert is about for which a run is started.

        Raises:
            Refused: there is no such alert.
        """
        if alert is None:
            return {}
        try:
            return await self._box.read(lambda s: alert_inputs.of_number(s, alert))
        except errors.NotFound as error:
            raise Refused(str(error)) from error

    async def _wait(self, intent: Intent, book: Runbook, run: Run, stop: Stop) -> None:
        """The run waits from now on, and its intent has ended: in one transaction."""
        at = [step.name for step in book.steps].index(stop.step) + 1
        now = self._box.now_us()

        async def work(s: Session) -> None:
            step = f"step {at} of {len(book.steps)}, {stop.step}"
            await runs.stay(s, run, stop.waits, stop.step, at_us=now)
            await run_events.add(
                s, run.id, Kind.WAITS, stop.sentence, actor=BY, at_us=now, step=stop.step
            )
            needs = decisions.needs(await runs.find(s, run.id))
            said = f"{book.name}, run {run.id}, waits at {step}: {stop.sentence.rstrip('.')}. "
            await intents.end(s, intent.id, intents.State.APPLIED, said + needs, now, by=BY)

        await self._box.write(work)
        _log.info("a run waits", run=run.id, step=stop.step, for_=stop.waits.value)

    async def _finish(self, intent: Intent, book: Runbook, run: Run, ended: Ended) -> None:
        if not ended.well:
            await self.end(intent, intents.State.FAILED, f"{book.name}: {ended.sentence}")
            return
        undo = any(step.undo is not None for step in book.steps)
        hint = await self._undo_hint(run) if undo else ""
        said = f"{book.name}, run {run.id}: all steps succeeded.{ended.sentence}{hint}"
        await self.end(intent, intents.State.APPLIED, said)

    async def _undo_hint(self, run: Run) -> str:
        changed = await self._box.read(lambda s: undo_plan.changed(s, run))
        return f" `paddock runbooks undo {run.id}` reverts them." if changed else ""
