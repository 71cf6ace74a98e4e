"""A store with a control and jobs that run when a test asks for it.

Imported by tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from engine.control.intents import Intents
from engine.control.reconcile import Loop
from storage import intents
from storage import store as stores
from storage.control_socket import nudges
from storage.home import clock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.intents import Intent, State
from storage.store import Session, Store
from tests.engine.jobs import run_jobs
from tests.home_fixtures import ADAPTER, WEIGHTS
from tests.home_templates import Template


class Desk:
    """A store with a control that works only when asked to; intents are kim's, an admin."""

    role = "admin"

    def __init__(self, store: Store) -> None:
        self.store = store
        self.control = Loop(store, [Intents()], now_us=clock.now_us, retry_s=0)

    async def accept(
        self, verb: str, target: str, expected_version: int | None = None, **asked: Any
    ) -> int:
        """Store an intent, as the control socket does; its number."""

        async def work(session: Session) -> int:
            return await intents.accept(
                session, actor="kim", role=self.role, verb=verb, target=target, arguments=asked,
                reason="because", expected_version=expected_version, at_us=clock.now_us(),
            )  # fmt: skip

        return await self.store.write(work)

    async def ended(self, number: int) -> Intent:
        """Let control and jobs run until this intent has ended."""
        async with asyncio.timeout(60):
            with nudges.listen(self.store.home, "test") as listener:
                while True:
                    await self.control.settle()
                    await run_jobs.run(self.store)
                    async with self.store.read() as session:
                        intent = await intents.find(session, number)
                    if intent.ended_at_us is not None:
                        return intent
                    await listener.wait(timeout_s=0.25)

    async def do(
        self, verb: str, target: str, expected_version: int | None = None, **asked: Any
    ) -> Intent:
        """Store an intent and carry it out."""
        return await self.ended(await self.accept(verb, target, expected_version, **asked))

    async def furnish(self) -> None:
        """Add a model with an adapter, r1 and r2 of them, and the service `support` on r1."""
        steps: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("models.add", "ops", {"model": "ops", "version": "1.0.0", "path": str(WEIGHTS)}),
            ("models.add", "ops", {"model": "ops", "version": "1.1.0", "path": str(ADAPTER),
                                   "base": "ops@1.0.0"}),
            ("releases.create", "", {"model": "ops@1.0.0"}),
            ("releases.create", "", {"model": "ops@1.1.0"}),
            ("services.create", "support", {"release": "r1"}),
        )  # fmt: skip
        for verb, target, asked in steps:
            intent = await self.do(verb, target, **asked)
            assert intent.state is State.APPLIED, intent.outcome


_FURNISHED: Final = Template(lambda store: Desk(store).furnish())


@asynccontextmanager
async def desk(root: Path, *, furnished: bool = False) -> AsyncIterator[Desk]:
    """Control on a new home; a furnished one begins with what `Desk.furnish` adds."""
    store = await stores.open(await _FURNISHED.copy(root) if furnished else homes.make(Home(root)))
    try:
        yield Desk(store)
    finally:
        await store.close()
