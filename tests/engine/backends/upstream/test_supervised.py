"""Jobs on the instances of a supervised server: shared out, and safe from the death of one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.backends.upstream.exchange import Batches
from engine.backends.upstream.supervised import Servers
from engine.execution import failures
from engine.execution.job import Delta, Finished, Job, Restarted
from storage.home import paths as homes
from storage.home.paths import Home
from storage.releases import Server
from tests.engine.execution import jobs
from tests.engine.node.shims import Shim, shim

RELEASE = jobs.release(
    engine=None,
    server=Server(command=("tiny", "{port}"), model="tiny", max_sequences=8),
    deployment="tiny",
)

LONG = 300


def job(**fields: Any) -> Job:
    """A job for the supervised server."""
    return jobs.job(**{"release": RELEASE, "max_tokens": 3, **fields})


@asynccontextmanager
async def servers(root: Path, instances: int) -> AsyncIterator[tuple[Servers, list[Shim]]]:
    """The backend, and so many instances of a server that are ready."""
    home = homes.make(Home(root / "home"))
    with ExitStack() as running:
        shims = [
            running.enter_context(shim(home.run, instance=f"tiny:{number}"))
            for number in range(1, instances + 1)
        ]
        for each in shims:
            await asyncio.to_thread(each.ready)
        backend = Servers(home)
        backend.follow([RELEASE])
        try:
            yield backend, shims
        finally:
            await backend.close()


async def answered(backend: Servers, asked: Job) -> tuple[str, str]:
    """The text of a job, and the instance that wrote it."""
    return await rest(backend.run(asked))


async def rest(run: Batches) -> tuple[str, str]:
    """The outcome of a job: its text since the last restart, and which server wrote it."""
    text, instance = "", ""
    async for batch in run:
        for event in batch:
            match event:
                case Delta():
                    text += event.text
                case Restarted():
                    text = ""
                case Finished():
                    instance = event.instance
    return text, instance


async def begun(backend: Servers, **fields: Any) -> list[Batches]:
    """Eight long jobs, each with its first tokens; four on each of two instances."""
    runs = [backend.run(job(max_tokens=LONG, **fields)) for _ in range(8)]
    await asyncio.gather(*(anext(run) for run in runs))
    assert [each.jobs for each in backend.instances.values()] == [4, 4]
    return runs


async def go(backend: Servers) -> None:
    """Let the long answers end, on all servers that still answer."""
    async with httpx.AsyncClient() as http:
        for instance in list(backend.instances.values()):
            with contextlib.suppress(httpx.HTTPError):
                await http.get(f"{instance.address.root}/go")


async def test_instances_share_the_load(tmp_path: Path) -> None:
    """The least loaded is taken, and each answer says who wrote it."""
    async with servers(tmp_path, 2) as (backend, _):
        assert backend.unready(RELEASE) is None
        found = await asyncio.gather(*(answered(backend, job()) for _ in range(8)))
    assert {text for text, _ in found} == {" one two three"}
    assert Counter(instance for _, instance in found) == {"tiny:1": 4, "tiny:2": 4}


async def test_a_killed_instance_loses_nothing_that_was_not_shown(tmp_path: Path) -> None:
    """An answer that is not streamed begins again elsewhere; the dead server is not asked again."""
    async with servers(tmp_path, 2) as (backend, shims):
        runs = await begun(backend)
        ends = [asyncio.create_task(rest(run)) for run in runs]
        server = shims[0].server()
        server.kill()
        await go(backend)
        found = await asyncio.gather(*ends)
        after = await answered(backend, job())
    again = [text for text, _ in found if len(text.split()) == LONG]
    assert len(again) == 4
    assert {instance for _, instance in found} == {"tiny:2"}
    assert after == (" one two three", "tiny:2")


async def test_a_stream_that_was_shown_ends_with_a_failure(tmp_path: Path) -> None:
    """Nothing can be taken back from a client that has read it."""
    async with servers(tmp_path, 2) as (backend, shims):
        runs = await begun(backend, stream=True)
        shims[0].server().kill()
        await go(backend)
        found = await asyncio.gather(*map(rest, runs), return_exceptions=True)
    failed = [each for each in found if isinstance(each, failures.Unavailable)]
    assert [each.code for each in failed] == ["upstream_lost"] * 4
    assert len(found) - len(failed) == 4


async def test_a_draining_instance_loses_nothing_at_all(tmp_path: Path) -> None:
    """It ends what it has, streams included; what comes later goes elsewhere."""
    async with servers(tmp_path, 2) as (backend, shims):
        runs = await begun(backend, stream=True)
        shims[0].process.send_signal(signal.SIGTERM)
        while shims[0].published.exists():
            await asyncio.to_thread(shims[0].said, "beat")
        assert await answered(backend, job()) == (" one two three", "tiny:2")
        assert list(backend.instances) == ["tiny:2"]
        for instance in [*backend.instances.values(), *backend._leaving]:
            async with httpx.AsyncClient() as http:
                await http.get(f"{instance.address.root}/go")
        found = await asyncio.gather(*map(rest, runs))
        assert {instance for _, instance in found} == {"tiny:1", "tiny:2"}
        assert await asyncio.to_thread(shims[0].process.wait, 20) == 0


async def test_without_an_instance_a_job_waits_until_its_deadline(tmp_path: Path) -> None:
    """One that comes in time answers; none is a failure that names the server."""
    home = homes.make(Home(tmp_path / "home"))
    backend = Servers(home)
    backend.follow([RELEASE])
    assert backend.unready(RELEASE) == "no instance of server tiny is ready"
    with pytest.raises(failures.Unavailable) as failed:
        await answered(backend, job(queue_us=100_000))
    assert failed.value.code == "server_unavailable"
    waiting = asyncio.create_task(answered(backend, job()))
    with shim(home.run) as one:
        await asyncio.to_thread(one.ready)
        assert await waiting == (" one two three", "tiny:1")
        await backend.close()
