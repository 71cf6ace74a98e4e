"""Recorded requests are asked again on a real node: the same text, beside users, across a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from storage import held_releases, jobs, keys, replay_items, replays, requests
from storage.replay_items import Item
from storage.replays import Replay
from storage.requests import Outcome, Request
from tests import paddock_commands
from tests.engine.node import fickle_upstream
from tests.engine.node.fickle_upstream import ANSWER, PIECES, Fickle
from tests.engine.node.nodes import BOUND_S, RealNode, opened
from tests.home_fixtures import WEIGHTS

QUESTIONS: Final = tuple(f"Where is order {number}?" for number in (17, 18, 19, 20))
MANY: Final = 3

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def box(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[RealNode, Fickle, list[str]]]:
    """`support` on r1 has answered four questions; r2 has a prompt, r3 is another server."""
    node = RealNode(tmp_path_factory.mktemp("box") / "home", PADDOCK_BEAT_S="20")
    node.start()
    try:
        async with fickle_upstream.served() as fickle:
            await node.register("ops", WEIGHTS)
            await node.must("releases.create", "", {"model": "ops"})
            message = {"role": "system", "template": "You are a pirate."}
            await node.must("prompts.add", "pirate", {"prompt": "pirate", "messages": [message]})
            await node.must("releases.create", "", {"model": "ops", "prompt": "pirate@1"})
            url = f"http://127.0.0.1:{fickle.port}/v1"
            await node.must("upstreams.add", "far", {"url": url})
            far = {"name": "far", "model": "m"}
            await node.must("releases.create", "", {"upstream": far})
            await node.must("services.create", "support", {"release": "r1", "record_text": True})
            yield node, fickle, await _asked(node)
    finally:
        node.end()


async def _asked(node: RealNode) -> list[str]:
    """Ask the service, and wait until that is recorded; the ids."""
    minted = keys.mint()
    key = {"name": "t", "prefix": minted.prefix, "sha256": minted.sha256, "tenant": "t"}
    await node.must("keys.add", "t", key)
    base = f"http://127.0.0.1:{node.environment['PADDOCK_GATEWAY__PORT']}"
    headers = {"authorization": f"Bearer {minted.secret}"}
    ids = []
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=BOUND_S) as http:
        for question in QUESTIONS:
            body = {
                "model": "support", "messages": [{"role": "user", "content": question}],
                "max_tokens": 12, "temperature": 0.9,
            }  # fmt: skip
            answer = await http.post("/v1/chat/completions", json=body)
            answer.raise_for_status()
            ids.append(answer.headers["x-request-id"])
    await _until(node, lambda found: len(found) == len(QUESTIONS))
    return ids


async def _until(node: RealNode, holds: Callable[[list[Request]], bool]) -> list[Request]:
    return await node.found(requests.tail, holds)


async def _newest(node: RealNode) -> tuple[Replay, list[Item]]:
    async with opened(node.home) as store, store.read() as s:
        replay = (await replays.tail(s, 1))[0]
        return replay, await replay_items.of(s, replay.id)


async def _command(node: RealNode, *words: str) -> Any:
    environment = {**os.environ, "PADDOCK_HOME": str(node.home.root)}
    done = await asyncio.to_thread(paddock_commands.run, *words, "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_the_same_release_and_seed_give_the_same_text_in_no_service_s_figures(
    box: tuple[RealNode, Fickle, list[str]],
) -> None:
    """A sampled answer comes out again word by word; another release's is set beside it."""
    node, fickle, ids = box
    before = len(await _until(node, lambda _: True))
    found = await _command(node, "requests", "replay", ids[0], "--on", "r1")
    (item,) = found["items"]
    assert item["after"]["text"] == item["before"]["text"] != ""
    assert (item["f1"], item["after"]["completion_tokens"]) == (1, 12)
    _, (again,) = await _newest(node)
    assert again.same is True

    found = await _command(node, "requests", "replay", ids[0], "--on", "r3")
    assert found["items"][0]["after"]["text"] == ANSWER * PIECES
    assert json.loads(fickle.bodies[-1])["messages"][0]["content"] == QUESTIONS[0]

    found = await _command(node, "requests", "replay", ids[0], "--on", "r2")
    was, now = (found["items"][0][side] for side in ("before", "after"))
    assert now["prompt_tokens"] > was["prompt_tokens"]  # the pirate's prompt

    rows = await _until(node, lambda rows: len(rows) == before + 3)
    assert [row.id for row in rows if row.service == "support"] == ids[::-1]
    assert {row.service for row in rows[:3]} == {"(replay)"}
    assert {row.class_ for row in rows[:3]} == {requests.Class.BACKGROUND}

    await node.must("services.split", "support", {"arms": {"r2": 10_000}})
    await node.must("services.split", "support", {"arms": {"r3": 10_000}})
    await node.must("services.split", "support", {"arms": {"r1": 10_000}})
    found = await _command(node, "releases", "bisect", "support", ids[0])
    report = found["replay"]["report"]
    assert (report["good"], report["culprit"]) == (2, 3)  # the tiny model knows no pirates
    assert ["upstream.name", None, "far"] in report["differences"]
    assert [item["release"] for item in found["items"]] == [1, 3, 2]


async def test_a_release_that_no_split_names_is_loaded_for_the_replay(
    box: tuple[RealNode, Fickle, list[str]],
) -> None:
    """For a smoke, too. It runs on a worker that nothing holds once they have ended."""
    node, _, ids = box
    engine = {"context_tokens": 256, "max_sequences": 2, "threads": 1}
    said = await node.must("releases.create", "", {"model": "ops", "engine": engine})
    release = said.split()[0]
    smoked = await node.must("releases.smoke", release, {})
    assert smoked.startswith("All 3 smoke requests were answered")
    await node.must("replays.request", ids[0], {"release": release})
    _, (item,) = await _newest(node)
    assert item.after is not None
    assert item.after.outcome is Outcome.OK
    assert item.same is True  # the same weights, settings and seed
    (row,) = await node.found(  # the gateway writes rows some time after the answer
        lambda s: requests.tail(s, 1), lambda rows: rows[0].release == int(release[1:])
    )
    async with opened(node.home) as store, store.read() as s:
        assert await held_releases.every(s) == frozenset()
    assert row.worker not in {"ops-1.0.0", "ops-1.0.0:1"}


async def test_a_sample_resumes_after_its_process_is_killed_and_asks_nothing_twice(
    box: tuple[RealNode, Fickle, list[str]],
) -> None:
    """What has an answer is not asked again; what was under way, and has none, is."""
    node, fickle, ids = box
    before = len(fickle.bodies)
    fickle.promptly = before + MANY - 1
    asking = asyncio.create_task(
        node.must("replays.sample", "r3", {"service": "support", "sample": 10})
    )
    async with asyncio.timeout(2 * BOUND_S):
        await fickle.until(before + MANY)
    async with opened(node.home) as store, store.read() as s:
        job = next(each for each in await jobs.tail(s) if each.kind == "replay")
        newest = (await replays.tail(s, 1))[0]
        answered = [each for each in await replay_items.of(s, newest.id) if each.after is not None]
    assert job.pid is not None
    assert len(answered) == MANY - 1
    os.kill(job.pid, signal.SIGKILL)
    async with asyncio.timeout(2 * BOUND_S):
        await fickle.until(before + MANY + 1)
    fickle.go.set()
    said = await asking
    assert said.startswith("Asked 4 requests: 0 of 4 answers are the same text")
    replay, items = await _newest(node)
    assert sorted(item.request_id for item in items) == sorted(ids)
    times = [sum(question in body for body in fickle.bodies[before:]) for question in QUESTIONS]
    assert sorted(times) == [1, 1, 1, 2]  # the one that was under way
    assert replay.report is not None
    assert {each[0]: each[1:] for each in replay.report.finishes}["stop"][1] == 4
    async with opened(node.home) as store, store.read() as s:
        assert await replays.held(s) == frozenset()
