"""Two instances of a deployment share the load, and neither death nor scaling loses a request."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

import openai
import pytest
import pytest_asyncio

from storage import keys, samples
from storage.processes import Process, State
from tests.engine.node.nodes import RealNode, opened
from tests.home_fixtures import WEIGHTS

ENGINE = {"context_tokens": 256, "max_sequences": 4, "threads": 1}

CLIENTS = 8
NUMBERS = itertools.count(1)
CHOICES = 2
PROMPT = "The order travels with the courier and arrives on " * 4
BOUND_S = 120.0


class Load:
    """Clients that ask one after the other until they are told to stop; what they were told."""

    def __init__(self, client: openai.AsyncOpenAI, *, stream: bool) -> None:
        self._client = client
        self._stream = stream
        self._stop = False
        self._news = asyncio.Event()
        self.answered = 0
        self.failed: list[str] = []

    async def __aenter__(self) -> Self:
        """Begin."""
        self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let every client finish the request that it has."""
        self._stop = True
        await asyncio.wait_for(asyncio.gather(*self._tasks), BOUND_S)

    async def more(self, answers: int) -> None:
        """Wait for so many answers from now on."""
        until = self.answered + answers
        async with asyncio.timeout(BOUND_S):
            while self.answered < until and not self.failed:
                self._news.clear()
                await self._news.wait()

    async def _ask_on(self) -> None:
        while not self._stop:
            try:
                await (self._streamed() if self._stream else self._whole())
                self.answered += 1
            except openai.OpenAIError as error:
                self.failed.append(repr(error))
            self._news.set()

    async def _whole(self) -> None:
        answer = await self._client.completions.create(
            model="support", prompt=PROMPT, max_tokens=16, n=CHOICES
        )
        assert {choice.finish_reason for choice in answer.choices} <= {"stop", "length"}
        assert len(answer.choices) == CHOICES

    async def _streamed(self) -> None:
        stream = await self._client.completions.create(
            model="support", prompt=PROMPT, max_tokens=16, n=CHOICES, stream=True
        )
        reasons = [choice.finish_reason async for chunk in stream for choice in chunk.choices]
        assert sum(reason in {"stop", "length"} for reason in reasons) == CHOICES


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A box that serves one release on two instances; each test leaves two of them."""
    made = RealNode(tmp_path_factory.mktemp("box") / "home", PADDOCK_LINGER_S="0.5")
    made.start()
    try:
        asyncio.run(_serve(made))
        yield made
    finally:
        made.end()


async def _serve(node: RealNode) -> None:
    await node.register("ops", WEIGHTS)
    await node.must("releases.create", "", {"model": "ops", "engine": ENGINE})
    await node.must("services.create", "support", {"release": "r1"})
    await node.must("deployments.scale", "ops", {"replicas": 2})
    await node.until(ready(2))


@pytest_asyncio.fixture
async def client(node: RealNode) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client that tries nothing twice by itself."""
    minted = keys.mint()
    name = f"load-{next(NUMBERS)}"
    key = {"name": name, "prefix": minted.prefix, "sha256": minted.sha256, "role": "client"}
    await node.must("keys.add", name, {**key, "tenant": "load"})
    url = f"http://127.0.0.1:{node.environment['PADDOCK_GATEWAY__PORT']}/v1"
    async with openai.AsyncOpenAI(
        api_key=minted.secret, base_url=url, max_retries=0, timeout=BOUND_S
    ) as made:
        yield made


def ready(count: int) -> Callable[[dict[str, Process]], bool]:
    """Whether there are so many instances, all of them ready."""

    def hold(found: dict[str, Process]) -> bool:
        instances = [each for each in found.values() if each.deployment]
        return len(instances) == count and all(each.state is State.READY for each in instances)

    return hold


async def _computed_by(node: RealNode) -> Counter[str]:
    """The tokens that each instance has decoded."""
    tokens: Counter[str] = Counter()
    async with opened(node.home) as store, store.read() as session:
        for _, instance, sample in await samples.since(session, 0, samples.Kind.INSTANCE):
            tokens[instance] += sample.decode_tokens
    return tokens


async def test_an_instance_that_is_drained_loses_no_stream(
    node: RealNode, client: openai.AsyncOpenAI
) -> None:
    """It finishes what it has and gets nothing new; then another one is started again."""
    async with Load(client, stream=True) as load:
        await load.more(24)
        await node.must("deployments.scale", "ops", {"replicas": 1})
        await node.until(ready(1))
        await load.more(24)
        await node.must("deployments.scale", "ops", {"replicas": 2})
        await node.until(ready(2))
        await load.more(24)
    assert load.failed == []


async def test_two_instances_share_the_load_and_one_that_is_killed_loses_nothing(
    node: RealNode, client: openai.AsyncOpenAI
) -> None:
    """Requests that had sent nothing are answered by the other one, or by its successor."""
    victim = await node.until(ready(2))
    name = max(name for name, each in victim.items() if each.deployment)
    pid = victim[name].pid
    assert pid is not None
    async with Load(client, stream=False) as load:
        await load.more(24)
        os.kill(pid, signal.SIGKILL)
        await load.more(24)
        await node.until(lambda found: ready(2)(found) and found[name].restarts == 1)
        await load.more(24)
    assert load.failed == []
    node.stop()  # the gateway writes the last second when it stops
    shares = await _computed_by(node)
    assert len(shares) == 2
    assert min(shares.values()) > sum(shares.values()) / 10
