"""An outbox on a box, delivered when a test asks for it.

Imported by tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from engine.control.alerts import notify
from engine.control.alerts.delivery import Delivery
from storage import notifications, receivers
from storage.home import secrets
from storage.notifications import Notification, State
from storage.store import Session
from tests.engine.control.alerts import boxes
from tests.engine.control.alerts.boxes import Box


class Outbox:
    """The deliveries of a box; `now_us` is the time, which tests set."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.now_us = boxes.BEGINNING_S * boxes.SECOND_US
        self.restart()

    def restart(self) -> None:
        """Replace the delivery, as a restart of control does."""
        self.delivery = Delivery(self.box.store, now_us=lambda: self.now_us, look_s=0)

    async def add(self, name: str, url: str, *, signing: str | None = None) -> None:
        """Add a receiver."""
        home = self.box.store.home
        deposited = secrets.deposit(home, url)
        key = None if signing is None else secrets.deposit(home, signing)

        async def work(s: Session) -> None:
            await receivers.add(
                s, name=name, kind=receivers.kind_of(url), shown=receivers.shown(url),
                secret=deposited, signing=key, matchers=(), group_by=("alertname",),
                group_wait_s=0, group_interval_s=60, repeat_interval_s=3600, send_resolved=True,
                actor="kim", at_us=1, intent_id=None,
            )  # fmt: skip

        await self.box.store.write(work)

    async def queue(self, receiver: str) -> int:
        """Queue a test message; its number."""
        at_us = self.now_us
        return await self.box.store.write(lambda s: notify.test(s, receiver, at_us=at_us))

    async def deliver(self) -> int:
        """Send what is due; how many tries that took."""
        tasks = await self.delivery.start()
        await asyncio.gather(*tasks)
        return len(tasks)

    async def all(self) -> list[Notification]:
        """All notifications, oldest first."""
        async with self.box.store.read() as s:
            return (await notifications.tail(s, 100))[::-1]

    async def states(self) -> list[State]:
        """The states of all notifications, oldest first."""
        return [each.state for each in await self.all()]


@asynccontextmanager
async def made(root: Path) -> AsyncIterator[Outbox]:
    """An outbox on a box."""
    async with boxes.made(root / "home") as box:
        yield Outbox(box)
