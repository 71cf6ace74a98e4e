"""Clients that are refused come back when they were told to, and are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import httpx
import openai
import pytest
from openai import OpenAI

from storage import deployments, knobs, models, processes, releases, services
from storage.home import clock
from storage.processes import Kind, State
from storage.releases import Engine, Limits
from storage.store import Session
from tests.engine.backends.fake_worker import FakeWorker
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


@pytest.mark.soak
def test_forty_default_clients_against_a_queue_of_two_are_all_answered(stack: Stack) -> None:
    """Within the two retries that the `openai` client makes by itself.

    On a machine that does nothing else: one that stalls between two answers refuses more often.
    """
    refused = _all_answered(stack, retries=openai.DEFAULT_MAX_RETRIES)
    assert refused, "the queue was never full"


def test_forty_clients_against_a_queue_of_two_are_told_different_times(stack: Stack) -> None:
    """In seconds and in milliseconds; on average one is refused less than twice."""
    refused = _all_answered(stack, retries=9)
    assert refused, "the queue was never full"
    assert len(refused) < openai.DEFAULT_MAX_RETRIES * CLIENTS
    told = [int(response.headers["retry-after-ms"]) for response in refused]
    assert all(response.headers["retry-after"].isdecimal() for response in refused)
    assert len(set(told)) > len(told) // 2


def _all_answered(stack: Stack, *, retries: int) -> list[httpx.Response]:
    """Every client asks at once and is answered within its own `retries`. Returns the refusals."""
    refused: list[httpx.Response] = []
    together = Barrier(CLIENTS)

    def seen(response: httpx.Response) -> None:
        if response.status_code == 429:
            refused.append(response)

    with OpenAI(
        base_url=f"{stack.url}/v1",
        api_key=stack.secrets["client"],
        http_client=openai.DefaultHttpxClient(event_hooks={"response": [seen]}),
        max_retries=retries,
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
    return refused


async def _crash(stack: Stack) -> str:
    """Serve `brief`, whose requests wait for half a second; its worker is about to be restarted.

    That took two seconds the last time. Returns the instance.
    """
    store = await gateway_processes.opened(stack)
    plain = stack.releases["plain"]
    instance = deployments.instance(plain.deployment, 1)

    async def work(s: Session) -> None:
        now = clock.now_us()
        brief = await releases.create(
            s,
            model_version=await models.get(s, plain.model_version_id or 0),
            base=None,
            prompt_version=None,
            sampling=plain.sampling,
            limits=Limits(queue_s=0.5, max_tokens=8),
            engine=plain.engine or Engine(),
            comment="",
            actor="t",
            at_us=now,
        )
        await services.create(
            s, name="brief", release=brief.number, record_text=False, actor="t", at_us=now
        )
        started_us = now - 60_000_000
        await processes.declare(
            s, name=instance, kind=Kind.WORKER, deployment=plain.deployment, at_us=started_us
        )
        await processes.move(s, instance, State.READY, at_us=started_us + 2_000_000)
        await processes.move(s, instance, State.CRASHED, at_us=now, starts_at_us=now)

    await store.write(work)
    await store.close()
    return instance


async def _start_when(told: Event, stack: Stack, instance: str, over: Event) -> None:
    """The worker is back once a client was told when."""
    await asyncio.to_thread(told.wait, 60)
    worker = FakeWorker(stack.home.worker(instance))
    await worker.start()
    await asyncio.to_thread(over.wait, 60)
    await worker.stop()


def test_default_clients_are_told_when_a_restarting_worker_is_back(stack: Stack) -> None:
    """A second, whatever was known, was over long before it was: they gave up."""
    stack.kill(stack.releases["plain"].deployment)
    instance = asyncio.run(_crash(stack))
    told, over = Event(), Event()

    def seen(response: httpx.Response) -> None:
        if response.status_code == 503 and int(response.headers["retry-after-ms"]) >= 2_000:
            told.set()

    with OpenAI(
        base_url=f"{stack.url}/v1",
        api_key=stack.secrets["client"],
        http_client=openai.DefaultHttpxClient(event_hooks={"response": [seen]}),
    ) as one:

        def ask(number: int) -> str:
            answer = one.completions.create(model="brief", prompt=f"order {number}")
            return answer.choices[0].finish_reason

        with ThreadPoolExecutor(9) as threads:
            back = threads.submit(asyncio.run, _start_when(told, stack, instance, over))
            try:
                ends = list(threads.map(ask, range(8)))
            finally:
                told.set()
                over.set()
                back.result()
    assert ends == ["length"] * 8
