"""The loop that runs every controller: observe, decide, act, and record in the same transaction.

A controller observes the store, decides purely, and acts by writing. The loop is woken by nudges
and at the time that a decision names. Killed at any instant it loses nothing: what was not
committed is decided again at the next start. Imported by `engine.control`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import structlog

from engine.control.decisions import Decision
from storage import errors
from storage.control_socket import nudges
from storage.control_socket.nudges import Listener
from storage.store import Session, Store

LOOK_S: Final = 5.0
"""How long the loop waits for a nudge at most: one may be lost."""

RETRY_S: Final = 2.0
"""How long it waits for a busy store, and before it runs a failed controller again."""

O = TypeVar("O")  # noqa: E741 what a controller observes

_SECOND_US: Final = 1_000_000
_log = structlog.get_logger("control.reconcile")


class Controller(Protocol[O]):
    """One controller. It is stateless: everything it needs is in the store."""

    @property
    def name(self) -> str:
        """What logs call it."""

    async def recover(self, s: Session, now_us: int) -> None:
        """Repair what a killed predecessor left; called once, at the start."""

    async def observe(self, s: Session, now_us: int) -> O:
        """Read everything that the decision needs, and write nothing."""

    def decide(self, observed: O, now_us: int) -> Decision:
        """What to do and why. Pure. No plan: nothing until `due_us`, or until something changes."""

    async def act(self, s: Session, decision: Decision, now_us: int) -> None:
        """Carry out a plan and record it, all in the session's transaction."""


class Loop:
    """Runs controllers until cancelled. A fault of one does not stop the others."""

    def __init__(
        self,
        store: Store,
        controllers: Sequence[Controller[Any]],
        *,
        now_us: Callable[[], int],
        retry_s: float = RETRY_S,
    ) -> None:
        self._store = store
        self._controllers = controllers
        self._now_us = now_us
        self._retry_s = retry_s
        self._failed: dict[str, int] = {}  # when a controller that raised may run again

    async def run(self, listener: Listener) -> None:
        """Recover, then act whenever there is something to do."""
        await self.recover()
        while True:
            try:
                due_us = await self.settle()
            except errors.Unavailable as error:
                _log.warning("waiting for the store", error=str(error))
                await asyncio.sleep(self._retry_s)
                continue
            await listener.wait(timeout_s=self._wait_s(due_us))

    async def recover(self) -> None:
        """Let every controller repair what a killed predecessor left, once the store allows."""
        for controller in self._controllers:

            async def work(s: Session, controller: Controller[Any] = controller) -> None:
                await controller.recover(s, self._now_us())

            while True:
                try:
                    await self._store.write(work, durable=True, nudge=False)
                    break
                except errors.Unavailable as error:
                    _log.warning("waiting for the store", error=str(error))
                    await asyncio.sleep(self._retry_s)

    async def settle(self) -> int | None:
        """Act until no controller has anything to do; the earliest time to look again, if any.

        Each controller gets one turn per round, so that none starves the others.
        """
        due: dict[str, int | None] = {}
        acted = True
        while acted:
            acted = False
            for controller in self._controllers:
                decision = await self._turn(controller)
                acted = acted or (decision is not None and decision.plan is not None)
                due[controller.name] = (
                    self._failed[controller.name] if decision is None else decision.due_us
                )
        return min((each for each in due.values() if each is not None), default=None)

    async def _turn(self, controller: Controller[Any]) -> Decision | None:
        """One turn of a controller; None when it has failed and waits to be run again."""
        if self._failed.get(controller.name, 0) > self._now_us():
            return None
        try:
            decision = await self._reconcile(controller)
        except errors.Unavailable:
            raise
        except Exception:  # noqa: BLE001 the others continue
            _log.exception("a controller failed", controller=controller.name)
            wait_us = int(self._retry_s * _SECOND_US)
            self._failed[controller.name] = self._now_us() + wait_us
            return None
        self._failed.pop(controller.name, None)
        return decision

    async def _reconcile(self, controller: Controller[Any]) -> Decision:
        """Decide outside a transaction; if there is a plan, decide and act again inside one."""
        async with self._store.read() as s:
            decision = controller.decide(
                await controller.observe(s, self._now_us()), self._now_us()
            )
        if decision.plan is None:
            return decision

        async def work(s: Session) -> Decision:
            now_us = self._now_us()
            decided = controller.decide(await controller.observe(s, now_us), now_us)
            if decided.plan is not None:  # the store may have changed since the look
                await controller.act(s, decided, now_us)
            return decided

        decided = await self._store.write(work, durable=True, nudge=False)
        if decided.plan is not None:
            nudges.send(self._store.home)
        return decided

    def _wait_s(self, due_us: int | None) -> float:
        if due_us is None:
            return LOOK_S
        return min(max((due_us - self._now_us()) / _SECOND_US, 0.0), LOOK_S)
