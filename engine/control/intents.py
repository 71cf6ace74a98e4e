"""Claims intents, has them decided and done once, and says how each ended.

A claim, what is done for it and its end are one transaction, so that a crash leaves either all or
nothing. An intent that takes long becomes a job in that transaction, and the job ends it. Imported
by `engine.control`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from engine.control import registry
from engine.control.decisions import Decision, Reason, Refusal, of
from storage import errors, intents, jobs
from storage import store as stores
from storage.control_socket import nudges, verbs
from storage.control_socket.nudges import Listener
from storage.control_socket.verbs import Process
from storage.intents import Intent, State
from storage.store import Session, Store

BY: Final = Process.CONTROL.value
LOOK_S: Final = 5.0
AGAIN_S: Final = 2.0

_log = structlog.get_logger("control.intents")


class Intents:
    """The loop over what people want."""

    def __init__(self, store: Store, *, now_us: Callable[[], int]) -> None:
        self._store = store
        self._now_us = now_us
        self._controllers = registry.load()

    async def reclaim(self) -> None:
        """Put back what an earlier control had claimed when it died, once the store takes it."""

        async def work(session: Session) -> list[int]:
            return await intents.reclaim(session, BY, self._now_us())

        while True:
            try:
                again = await self._store.write(work, durable=True, nudge=False)
            except errors.Unavailable as error:
                _log.warning("intents wait for the store", error=str(error))
                await asyncio.sleep(AGAIN_S)
                continue
            if again:
                _log.info("reclaimed", intents=again)
            return

    async def run(self, listener: Listener) -> None:
        """Put back what was claimed, then carry out intents as they come, for ever."""
        await self.reclaim()
        while True:
            try:
                await self.settle()
            except errors.Unavailable as error:
                _log.warning("intents wait for the store", error=str(error))
                await asyncio.sleep(AGAIN_S)
                continue
            await listener.wait(timeout_s=LOOK_S)

    async def settle(self) -> None:
        """Carry out everything that can be carried out now."""
        while await self._one():
            pass

    async def _one(self) -> bool:
        """One intent from claim to end; False when there is none."""

        async def work(session: Session) -> bool:
            intent = await intents.claim(
                session, verbs=self._controllers.keys(), by=BY, at_us=self._now_us()
            )
            if intent is None:
                return False
            await self._carry_out(session, intent)
            return True

        did = await self._store.write(work, durable=True, nudge=False)
        if did:
            nudges.send(self._store.home)
        return did

    async def _carry_out(self, session: Session, intent: Intent) -> None:
        decision = await self._decide(session, intent)
        if decision.reason is Reason.QUEUED:
            await intents.hand_over(session, intent.id, frm=BY, to=jobs.CLAIMER)
            _log.info("queued", intent=intent.id, verb=intent.verb, target=intent.target)
            return
        state = State.APPLIED if decision.plan is not None else State.REFUSED
        if decision.reason is Reason.UNCHANGED:
            state = State.APPLIED
        if decision.reason is Reason.FAULT:
            state = State.FAILED
        await intents.end(session, intent.id, state, decision.sentence, self._now_us(), by=BY)
        _log.info(
            "ended",
            intent=intent.id,
            verb=intent.verb,
            target=intent.target,
            state=state.value,
            reason=decision.reason.name,
        )

    async def _decide(self, session: Session, intent: Intent) -> Decision:
        """Decide and act; what a refusal had begun to write is taken back."""
        controller = self._controllers[intent.verb]
        try:
            arguments = verbs.parse(intent.verb, intent.arguments)
            async with stores.savepoint(session):
                return await controller.carry_out(session, intent, arguments, self._now_us())
        except Refusal as refusal:
            return refusal.decision
        except errors.ConstraintViolated as error:
            return _fault(intent, error)
        except errors.StorageError as error:
            decision = of(error)
            if decision is None:
                raise
            return decision
        except Exception as error:  # noqa: BLE001 one intent must not hold up the rest
            return _fault(intent, error)


def _fault(intent: Intent, error: Exception) -> Decision:
    _log.error("a controller failed", intent=intent.id, verb=intent.verb, exc_info=error)
    said = f"{type(error).__name__}: {error}"
    return Decision(Reason.FAULT, f"It could not be done ({said}); control.log has the trace.")
