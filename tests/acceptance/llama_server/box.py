"""A home, a worker and a gateway with the settings that a test gives to llama-server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage import releases, services
from storage import store as stores
from storage.home import paths as homes
from storage.home.paths import Home
from storage.model_checks import Task
from storage.releases import Engine, Limits, Release, Sampling
from tests import home_fixtures
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack


@dataclass(frozen=True, slots=True)
class Plan:
    """What a box is made of.

    `context_tokens` is of one sequence; pages of the `origins` may ask it from a browser.
    """

    weights: Path
    service: str
    context_tokens: int
    sequences: int
    max_tokens: int
    temperature: float
    seed: int
    task: Task = "text"
    origins: tuple[str, ...] = ()


@contextmanager
def running(root: Path, plan: Plan) -> Iterator[Stack]:
    """The box while it serves; `secrets["client"]` is its key."""
    stack = asyncio.run(_furnish(root, plan))
    with gateway_processes.running(stack):
        stack.start_worker(stack.releases[plan.service], model=plan.weights)
        stack.start_gateway(allowed_origins=json.dumps(plan.origins))
        stack.until_ready()
        yield stack


async def _furnish(root: Path, plan: Plan) -> Stack:
    home = homes.make(Home(root))
    store = await stores.open(home)
    engine = Engine(
        context_tokens=plan.context_tokens, max_sequences=plan.sequences, threads=1, task=plan.task
    )

    async def work(s: Any) -> tuple[Release, str]:
        release = await releases.create(
            s,
            model_version=await home_fixtures.add_model(s, plan.weights),
            base=None,
            prompt_version=None,
            sampling=Sampling(temperature=plan.temperature, seed=plan.seed),
            limits=Limits(max_tokens=plan.max_tokens),
            engine=engine,
            comment="",
            actor="t",
            at_us=1,
        )
        await services.create(
            s, name=plan.service, release=release.number, record_text=False, actor="t", at_us=2
        )
        return release, await home_fixtures.add_key(s, "client")

    try:
        release, secret = await store.write(work)
    finally:
        await store.close()
    return Stack(home, home_fixtures.free_port(), {"client": secret}, {plan.service: release})
