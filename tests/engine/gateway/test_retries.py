"""Clients that are refused come back when they were told to, and are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import openai
import pytest
from openai import OpenAI

from storage import knobs
from storage.store import Session
from tests.engine.gateway import gateway_processes
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

if not WEIGHTS.exists():
    pytest.skip("the shipped model is not here", allow_module_level=True)

CLIENTS, QUEUE, RUNNING = 40, 2, 2


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker that runs two sequences and queues two."""
    made = asyncio.run(gateway_processes.furnish(tmp_path_factory.mktemp("retries") / "home"))
    deployment = made.releases["plain"].deployment

    async def narrow() -> None:
        store = await gateway_processes.opened(made)

        async def work(s: Session) -> None:
            for name, value in (("queue_limit", QUEUE), ("max_running", RUNNING)):
                await knobs.set(
                    s, deployment=deployment, name=name, value=value, actor="t", at_us=9
                )

        await store.write(work)
        await store.close()

    asyncio.run(narrow())
    with gateway_processes.running(made):
        made.start_worker(made.releases["plain"])
        made.start_gateway()
        made.until_ready()
        yield made


def test_forty_default_clients_against_a_queue_of_two_are_all_answered(stack: Stack) -> None:
    """Within the two retries that the `openai` client makes by itself.

    Refused ones are told different times, in seconds and in milliseconds.
    """
    refused: list[httpx.Response] = []
    together = Barrier(CLIENTS)

    def seen(response: httpx.Response) -> None:
        if response.status_code == 429:
            refused.append(response)

    with OpenAI(
        base_url=f"{stack.url}/v1",
        api_key=stack.secrets["client"],
        http_client=openai.DefaultHttpxClient(event_hooks={"response": [seen]}),
    ) as one:

        def ask(number: int) -> str:
            together.wait(60)
            answer = one.completions.create(model="raw", prompt=f"order {number}", max_tokens=3)
            return answer.choices[0].finish_reason

        ask_alone = one.completions.create(model="raw", prompt="order 17", max_tokens=3)
        assert ask_alone.choices
        with ThreadPoolExecutor(CLIENTS) as threads:
            ends = list(threads.map(ask, range(CLIENTS)))
    assert len(ends) == CLIENTS
    assert refused, "the queue was never full"
    told = [int(response.headers["retry-after-ms"]) for response in refused]
    assert all(response.headers["retry-after"].isdecimal() for response in refused)
    assert len(set(told)) > len(told) // 2
