"""Delivers the outbox: one message at a time for each receiver, until the receiver accepts it.

A dead receiver delays no other receiver and nothing else in control: webhooks are asked without
blocking, and apprise runs in a process that is killed when it takes too long. Imported by
`engine.control`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
import structlog

from engine.control.alerts import apprise_process
from engine.webhooks import call, signature
from storage import errors, notifications, receivers
from storage.home import secrets
from storage.notifications import Notification, State
from storage.receivers import Kind, Receiver
from storage.store import Store, Work

LOOK_S: Final = 5.0
"""How often the outbox is checked."""

APPRISE_S: Final = 40.0
"""How long apprise may take before it is killed."""

T = TypeVar("T")

_SECOND_US: Final = 1_000_000

_log = structlog.get_logger("control.notifications")


class NotAccepted(Exception):
    """The receiver did not take the message; `after_us` is when it asks to try again."""

    def __init__(self, why: str, after_us: int | None = None) -> None:
        super().__init__(why)
        self.after_us = after_us


class Delivery:
    """Delivers until cancelled."""

    def __init__(self, store: Store, *, now_us: Callable[[], int], look_s: float = LOOK_S) -> None:
        self._store = store
        self._now_us = now_us
        self._look_s = look_s
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Requeue what a predecessor was sending, then send messages when they are due."""
        recovered = False
        try:
            while True:
                try:
                    if not recovered:
                        await self.recover()
                        recovered = True
                    await self.start()
                except errors.StorageError as error:
                    _log.warning("the outbox cannot be read", error=str(error))
                await asyncio.sleep(self._look_s)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def recover(self) -> None:
        """Requeue, under the same id, messages that may not have arrived."""
        again = await self._store.write(
            lambda s: notifications.reclaim(s, at_us=self._now_us()), durable=True
        )
        if again:
            _log.info("sending again", notifications=again)

    async def start(self) -> list[asyncio.Task[None]]:
        """Start sending due messages to receivers that are not busy; returns the tasks."""
        async with self._store.read() as s:
            due = await notifications.due(s, self._now_us(), self._busy.keys())
            known = {each.name: each for each in await receivers.every(s)}
        started = []
        for notification in due:
            receiver = known.get(notification.receiver)
            task = asyncio.create_task(self._deliver(notification, receiver))
            self._busy[notification.receiver] = task
            started.append(task)
        return started

    async def _deliver(self, notification: Notification, receiver: Receiver | None) -> None:
        """Send one message and note what became of it."""
        try:
            await self._store.write(
                lambda s: notifications.claim(s, notification.id), durable=True, nudge=False
            )
            try:
                await self._send(notification, receiver)
            except NotAccepted as error:
                await self._failed(notification, error)
            else:
                await self._noted(
                    lambda s: notifications.sent(s, notification.id, at_us=self._now_us())
                )
                _log.info("sent", notification=notification.id, receiver=notification.receiver)
        except errors.StorageError as error:
            _log.warning("a message was not claimed", error=str(error))
        finally:
            self._busy.pop(notification.receiver, None)

    async def _failed(self, notification: Notification, error: NotAccepted) -> None:
        state = await self._noted(
            lambda s: notifications.failed(
                s, notification, str(error), at_us=self._now_us(), after_us=error.after_us
            )
        )
        note = _log.error if state is State.FAILED else _log.warning
        note(
            "given up" if state is State.FAILED else "not accepted",
            notification=notification.id,
            receiver=notification.receiver,
            error=str(error),
        )

    async def _noted(self, work: Work[T]) -> T:
        """Record the outcome of a message; waits as long as the store refuses writes.

        Until then nothing more is sent to this receiver, so that nothing is sent twice.
        """
        while True:
            try:
                return await self._store.write(work, durable=True)
            except errors.Unavailable as error:
                _log.warning("a delivery is not noted yet", error=str(error))
                await asyncio.sleep(self._look_s)

    async def _send(self, notification: Notification, receiver: Receiver | None) -> None:
        """Send one message.

        Raises:
            NotAccepted: the receiver did not take it.
        """
        if receiver is None:
            raise NotAccepted("the receiver was removed")
        try:
            url = secrets.read(self._store.home, receiver.secret)
            key = None
            if receiver.signing is not None:
                key = secrets.read(self._store.home, receiver.signing)
        except errors.NotFound as error:
            raise NotAccepted("its address is missing; remove the receiver and add it") from error
        try:
            if receiver.kind is Kind.WEBHOOK:
                await self._post(notification, url, key)
            else:
                await self._apprise(notification, url)
        except NotAccepted:
            raise
        except Exception as error:
            raise NotAccepted(f"sending failed ({type(error).__name__})") from error

    async def _post(self, notification: Notification, url: str, key: str | None) -> None:
        body = notification.body.encode()
        headers = signature.headers(
            notification.message_id, body, at_s=self._now_us() // _SECOND_US, secret=key
        )
        try:
            response = await call.post(url, body, headers)
        except call.Unanswered as error:
            after = None if error.after_s is None else int(error.after_s * _SECOND_US)
            raise NotAccepted(str(error), after) from error
        except call.Misdirected as error:
            raise NotAccepted(str(error)) from error
        if response.status >= 400:  # noqa: PLR2004 the class of refusals
            raise NotAccepted(f"it answered {response.status}")

    async def _apprise(self, notification: Notification, url: str) -> None:
        message = apprise_process.Message(
            url, notification.title, notification.text, notification.status
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            apprise_process.__name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(APPRISE_S):
                said, _ = await process.communicate(msgspec.json.encode(message))
        except TimeoutError as error:
            raise NotAccepted(f"it did not answer within {APPRISE_S:g} s") from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        try:
            answer = msgspec.json.decode(said, type=apprise_process.Answer)
        except msgspec.DecodeError as error:
            raise NotAccepted("apprise failed") from error
        if not answer.ok:
            raise NotAccepted(answer.error)
