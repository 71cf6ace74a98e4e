"""Exchanges with a server on loopback: jobs run, events collected, failures returned.

Imported by tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine.backends.upstream.exchange import Exchange
from engine.backends.upstream.health import Health, Targets
from engine.backends.upstream.server import Server, Settings
from engine.execution import failures
from engine.execution.job import Event, Job
from tests.engine.backends.upstream import loopback
from tests.engine.execution import jobs

SOON: dict[str, Any] = {"connect_s": 2.0, "first_event_s": 5.0, "read_s": 5.0}


@asynccontextmanager
async def exchange(
    url: str, *, extensions: bool = True, **settings: Any
) -> AsyncIterator[Exchange]:
    """Jobs for one server, as a backend runs them."""
    server = Server(Settings(name="peer", url=url, **(SOON | settings)))
    health = Health(server, Targets(f"{url}/models"))
    try:
        yield Exchange(server, health, "m", extensions=extensions)
    finally:
        await server.close()


async def events(talk: Exchange, job: Job) -> list[Event]:
    """All events of a job."""
    return [event async for batch in talk.run(job) for event in batch]


async def failure(script: loopback.Script, job: Job | None = None, **settings: Any) -> Any:
    """How a job fails with a server that answers by a script."""
    async with loopback.serving(script) as peer, exchange(peer.url, **settings) as talk:
        with pytest.raises(failures.Failure) as failed:
            await events(talk, job or jobs.job(stream=True))
        assert talk.server.slots.used == 0
        return failed.value
