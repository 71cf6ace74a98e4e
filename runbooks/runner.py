"""Claims the intents of runs, drills and automation, and carries each out beside the others.

Killed at any instant, the runner claims the same intents again at its next start. Imported by
`runbooks.__main__`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

import structlog

from runbooks import automation, decisions, driving
from runbooks.drills.perform import Drilling
from runbooks.drills.site import Broken
from runbooks.driving import LOOK_S, Driving
from runbooks.start_request import Refused
from runbooks.steps import Runbook
from runbooks.walk.box import BY
from storage import alert_events, automations, errors, intents
from storage.control_socket import verbs
from storage.control_socket.nudges import Listener
from storage.control_socket.verbs import Process
from storage.intents import Intent
from storage.store import Session, Store

_AGAIN_S: Final = 2.0
_AUTOMATE: Final = "runbooks.automate"
_DRILL: Final = "drills.start"
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
        self._tasks: set[asyncio.Task[None]] = set()
        self._driving = Driving(self, store.home, books, self._wake)

    async def run(self, listener: Listener) -> None:
        """Claim runs and walk them until cancelled; the next start resumes those interrupted."""
        try:
            await self.write(lambda s: intents.reclaim(s, BY, self.now_us()))
            while True:
                await self._automate()
                await self._take()
                await listener.wait(timeout_s=LOOK_S)
                self._wake()
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

    def _wake(self) -> None:
        self._news.set()
        self._news.clear()

    async def news(self, timeout_s: float) -> None:
        """Wait until something may have changed, or the time is over."""
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
        """Start enabled runbooks for the alerts that fired since the last look."""
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
                await self._driving.abort(intent)
            elif intent.verb == _DRILL:
                said = await Drilling(self, self.store.home, intent).go()
                await self._driving.end(intent, intents.State.APPLIED, said)
            elif intent.verb in driving.VERBS:
                await self._driving.drive(intent)
            else:
                await self._tell(intent)
        except Refused as refused:
            await self._driving.end(intent, intents.State.REFUSED, str(refused))
        except Broken as broken:
            await self._driving.end(intent, intents.State.FAILED, str(broken))
        except Exception as error:  # noqa: BLE001
            _log.exception("a run failed", intent=intent.id)
            said = f"The runner failed ({type(error).__name__}: {error}); runner.log has the trace."
            await self._driving.end(intent, intents.State.FAILED, said)

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
