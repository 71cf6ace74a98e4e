"""Longer drills, run by `make soak`.

A box whose processes are killed again and again under load, and a box that has answered so many
requests that a leak would show.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from storage import intents, keys, requests
from storage.control_socket import client as control_socket
from storage.processes import Kind, Process, State
from tests.engine.node.nodes import BOUND_S, RealNode, opened
from tests.home_fixtures import WEIGHTS

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

ROUNDS: Final = 100
STOPS: Final = 20
CLIENTS: Final = 6
VICTIMS: Final = ("worker", "gateway", "control", "runner", "node")
ANSWERS: Final = 12_000
BACK_US: Final = 60_000_000
"""Connections may break for this long after the gateway or the node was killed."""
GROWTH_BYTES: Final = 16 * 1024 * 1024


@dataclass(slots=True)
class Told:
    """What the clients were told, and when by the clock."""

    answered: list[str] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)
    failed: list[tuple[int, int, str]] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    listening: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RealNode]:
    """A node of its own, not yet started."""
    made = RealNode(tmp_path / "home")
    yield made
    made.end()


async def furnished(node: RealNode) -> str:
    """A started node that answers; the secret of a client's key."""
    node.start()
    release = await node.release("ops", WEIGHTS)
    await node.must("services.create", "ops", {"release": release})
    minted = keys.mint()
    key = {"name": "soak", "prefix": minted.prefix, "sha256": minted.sha256, "role": "client"}
    await node.must("keys.add", "soak", {**key, "tenant": "soak"})
    await node.until(serving)
    return minted.secret


def serving(parts: dict[str, Process]) -> bool:
    """Whether every part that should run is ready, a worker among them."""
    kinds = {part.kind for part in parts.values() if part.state is State.READY}
    return kinds >= {Kind.GATEWAY, Kind.CONTROL, Kind.RUNNER, Kind.WORKER}


async def ask(client: httpx.AsyncClient, told: Told, *, stream: bool) -> None:
    """One request; whatever comes is noted."""
    body = {"model": "ops", "prompt": "Order 214 travels with", "max_tokens": 12, "stream": stream}
    try:
        answer = await client.post("/v1/completions", json=body)
    except httpx.HTTPError as error:
        told.broken.append((now_us(), type(error).__name__))
        await told.listening.wait()
        return
    if answer.status_code != httpx.codes.OK or (stream and '"error"' in answer.text):
        told.failed.append((now_us(), answer.status_code, answer.text[-200:]))
    elif stream and not answer.text.endswith("data: [DONE]\n\n"):
        told.failed.append((now_us(), 0, answer.text[-200:]))
    else:
        told.answered.append(answer.headers["x-request-id"])
        told.heard.set()


def now_us() -> int:
    """By the clock, as the store counts."""
    return time.time_ns() // 1000


@asynccontextmanager
async def load(node: RealNode, secret: str, told: Told) -> AsyncIterator[None]:
    """Clients that ask one request after the other, half of them streaming."""
    url = f"http://127.0.0.1:{node.environment['PADDOCK_GATEWAY__PORT']}"
    headers = {"authorization": f"Bearer {secret}"}

    async def one(number: int) -> None:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=BOUND_S) as client:
            while True:
                await ask(client, told, stream=number % 2 == 0)

    told.listening.set()
    tasks = [asyncio.create_task(one(number)) for number in range(CLIENTS)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_answered(told: Told, more: int) -> None:
    """So many further answers."""
    wanted = len(told.answered) + more
    async with asyncio.timeout(BOUND_S):
        while len(told.answered) < wanted:
            told.heard.clear()
            await told.heard.wait()


async def hang(node: RealNode, victim: str) -> None:
    """As a hung process does; until the node has replaced it, or, itself stopped, is continued."""
    parts = await node.until(serving)
    if victim == "node":
        os.kill(node.pid, signal.SIGSTOP)
        return
    pid = next(part.pid for part in parts.values() if part.kind.value == victim)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await node.until(
        lambda parts: serving(parts) and all(part.pid != pid for part in parts.values())
    )


async def kill(node: RealNode, victim: str) -> tuple[int, int]:
    """As a crash does; between which moments it died, once the successor is ready."""
    parts = await node.until(serving)
    if victim == "node":
        before = now_us()
        children = await asyncio.to_thread(node.kill)
        died = (before, now_us())
        await asyncio.to_thread(psutil.wait_procs, children, timeout=BOUND_S)
        await asyncio.to_thread(node.start)
        await node.until(serving)
        return died
    pid = next(part.pid for part in parts.values() if part.kind.value == victim)
    assert pid is not None
    before = now_us()
    os.kill(pid, signal.SIGKILL)
    died = (before, now_us())
    await node.until(
        lambda parts: serving(parts) and all(part.pid != pid for part in parts.values())
    )
    return died


async def test_a_box_that_is_killed_again_and_again_loses_nothing_it_acknowledged(
    node: RealNode,
) -> None:
    """Whatever dies: it is back by itself, clients hear a clear end, acknowledged changes stay."""
    secret = await furnished(node)
    told, chance = Told(), random.Random(7)
    parts = await node.until(serving)
    worker = next(part.deployment or "" for part in parts.values() if part.kind is Kind.WORKER)
    acknowledged: list[int] = []
    cuts: list[tuple[int, int]] = []
    async with load(node, secret, told):
        for round in range(ROUNDS):
            await until_answered(told, 20)
            knob = {"name": "queue_limit", "value": 100 + round}
            asked = await control_socket.ask(node.home, "knobs.set", worker, knob)
            acknowledged.append(asked.intent_id)
            victim = VICTIMS[round] if round < len(VICTIMS) else chance.choice(VICTIMS)
            told.listening.clear()
            died = await kill(node, victim)
            told.listening.set()
            if victim in {"gateway", "node"}:
                cuts.append(died)
        await until_answered(told, 20)
    assert node.stop() == 0

    async with opened(node.home) as store, store.read() as session:
        states = [(await intents.find(session, each)).state for each in acknowledged]
        known = {each.id for each in await requests.tail(session, limit=1_000_000)}
    assert states == [intents.State.APPLIED] * ROUNDS
    assert [id for id in told.answered if id not in known] == []
    unclear = [text for _, code, text in told.failed if code == 0 or not _clear(text)]
    assert unclear == []
    silent = [
        (at, error)
        for at, error in told.broken
        if not any(before <= at < died + BACK_US for before, died in cuts)
    ]
    assert silent == []


async def test_a_box_whose_processes_hang_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """A stopped process is replaced; a stopped node stops nothing, and takes intents afterwards."""
    node = RealNode(tmp_path / "home", PADDOCK_BEAT_S="2")
    told, acknowledged = Told(), []
    try:
        secret = await furnished(node)
        parts = await node.until(serving)
        worker = next(part.deployment or "" for part in parts.values() if part.kind is Kind.WORKER)
        async with load(node, secret, told):
            for round in range(STOPS):
                await until_answered(told, 20)
                knob = {"name": "queue_limit", "value": 100 + round}
                asked = await control_socket.ask(node.home, "knobs.set", worker, knob)
                acknowledged.append(asked.intent_id)
                victim = VICTIMS[round % len(VICTIMS)]
                await hang(node, victim)
                if victim == "node":
                    await until_answered(told, 40)
                    os.kill(node.pid, signal.SIGCONT)
            await until_answered(told, 20)
        children = psutil.Process(node.pid).children(recursive=True)
        assert node.stop() == 0
    finally:
        node.end()
    assert [each for each in children if each.is_running()] == []
    async with opened(node.home) as store, store.read() as session:
        states = [(await intents.find(session, each)).state for each in acknowledged]
        known = {each.id for each in await requests.tail(session, limit=1_000_000)}
    assert states == [intents.State.APPLIED] * STOPS
    assert [id for id in told.answered if id not in known] == []
    assert [text for _, code, text in told.failed if code == 0 or not _clear(text)] == []


def _clear(text: str) -> bool:
    """Whether an answer ends in an error object that names what happened."""
    found: Any = json.loads("{" + text.rpartition("{")[2].partition("}")[0] + "}")
    return bool(found.get("message")) and bool(found.get("code"))


async def test_a_box_does_not_grow_with_what_it_has_answered(node: RealNode) -> None:
    """Thousands of answers later each process holds what it held after the first quarter."""
    secret = await furnished(node)
    told = Told()

    def resident() -> dict[str, int]:
        processes = psutil.Process(node.pid).children(recursive=True)
        every = [psutil.Process(node.pid), *processes]
        return {f"{each.pid} {each.cmdline()[-3:]}": each.memory_info().rss for each in every}

    async with load(node, secret, told):
        while len(told.answered) < ANSWERS // 4:
            await until_answered(told, 100)
        before = resident()
        while len(told.answered) < ANSWERS:
            await until_answered(told, 100)
        after = resident()
    assert (told.failed, told.broken) == ([], [])
    assert set(before) == set(after)
    grown = {name: after[name] - before[name] for name in before}
    assert [name for name, bytes in grown.items() if bytes > GROWTH_BYTES] == [], grown
