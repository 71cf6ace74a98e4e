"""Registered upstreams as the gateway follows them: added, replaced, removed, without a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.backends.upstream.backend import Upstreams
from engine.execution import failures
from engine.execution.job import Delta, Finished, Job
from storage import releases
from storage.home import paths as homes
from storage.home import secrets
from storage.home.paths import Home
from storage.upstreams import Upstream
from tests.engine.backends.upstream import loopback
from tests.engine.backends.upstream.loopback import Asked, Reply
from tests.engine.execution import jobs

RELEASE = jobs.release(
    engine=None, upstream=releases.Upstream(name="peer", model="m"), deployment="peer-abcd"
)


def record(url: str, **fields: Any) -> Upstream:
    """An upstream as it is registered."""
    return Upstream(
        **{
            "name": "peer", "url": url, "secret": None, "max_connections": 4,
            "connect_timeout_us": 2_000_000, "first_event_timeout_us": 5_000_000,
            "read_timeout_us": 5_000_000, "health_path": "models", "metrics_path": None,
            "extensions": True, "scores": None, "created_at_us": 1, "created_by": "t", **fields,
        }
    )  # fmt: skip


def job(**fields: Any) -> Job:
    """A job for the upstream."""
    return jobs.job(**{"release": RELEASE, **fields})


async def text(backend: Upstreams, asked: Job) -> str:
    """The text of a job."""
    found = [event async for batch in backend.run(asked) for event in batch]
    assert isinstance(found[-1], Finished)
    return "".join(event.text for event in found if isinstance(event, Delta))


async def hello(asked: Asked, reply: Reply) -> None:
    """Says who asked, by their key."""
    await reply.head()
    await reply.text(asked.headers.get("authorization", "nobody"))
    await reply.finish()


@pytest_asyncio.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Upstreams]:
    """A backend without upstreams."""
    made = Upstreams(homes.make(Home(tmp_path / "home")))
    yield made
    await made.close()


async def test_a_record_that_changed_is_used_from_the_next_request_on(backend: Upstreams) -> None:
    """A new key, another address; what is under way ends where it began."""
    async with loopback.serving(hello) as first, loopback.serving(hello) as second:
        backend.follow([record(first.url, secret=secrets.deposit(backend._home, "sk-1"))])
        under_way = backend.run(job(stream=True))
        batch = await anext(under_way)
        backend.follow([record(second.url, secret=secrets.deposit(backend._home, "sk-2"))])
        assert await text(backend, job()) == "Bearer sk-2"
        assert len([batch async for batch in under_way]) >= 1
        assert isinstance(batch[0], Delta)
        assert batch[0].text == "Bearer sk-1"
        backend.tick()
        assert backend._leaving == []
    assert (len(first.asked), len(second.asked)) == (1, 1)


async def test_an_unchanged_record_keeps_its_connections(backend: Upstreams) -> None:
    """The store changes often; a connection is worth keeping."""
    async with loopback.serving(hello) as peer:
        backend.follow([record(peer.url)])
        member = backend.members["peer"]
        await member.health.probe()
        backend.follow([record(peer.url)])
        assert backend.members["peer"] is member
        assert backend.unready(RELEASE) is None


async def test_an_upstream_that_is_not_registered_is_a_broken_release(backend: Upstreams) -> None:
    """The message says how to register it; readyz says the same."""
    assert backend.unready(RELEASE) == "upstream peer is not registered"
    with pytest.raises(failures.Broken, match="paddock upstreams add") as failed:
        await text(backend, job())
    assert (failed.value.code, failed.value.release_fault) == ("upstream_missing", True)


async def test_a_missing_key_is_said_and_nothing_is_sent(backend: Upstreams) -> None:
    """A request without its key would be refused far away, or worse, answered."""
    async with loopback.serving(hello) as peer:
        backend.follow([record(peer.url, secret="0" * 32)])
        assert "key is missing" in (backend.unready(RELEASE) or "")
        with pytest.raises(failures.Broken) as failed:
            await text(backend, job())
        assert failed.value.code == "upstream_key_missing"
        assert backend.scores(RELEASE) is False
    assert peer.asked == []


async def test_what_is_registered_as_scoring_is_not_probed(backend: Upstreams) -> None:
    """The operator knows; asking could cost money."""
    async with loopback.serving(hello) as peer:
        for scores in (True, False):
            backend.follow([record(peer.url, scores=scores)])
            assert backend.scores(RELEASE) is scores
    assert peer.asked == []


async def test_samples_and_requests_carry_the_same_name(backend: Upstreams) -> None:
    """The deployment's only instance, so that the screen finds both beside the release."""
    async with loopback.serving(hello) as peer:
        backend.follow([record(peer.url)], [RELEASE])
        await backend.members["peer"].health.probe()
        found = [event async for batch in backend.run(job()) for event in batch]
        subjects = [subject for _, _, subject, _ in backend.rows(10)]
    assert isinstance(found[-1], Finished)
    assert [found[-1].instance] == subjects == ["peer-abcd:1"]


async def test_closing_ends_what_is_under_way(backend: Upstreams) -> None:
    """A gateway that stops does not wait for a server that never ends."""

    async def endless(_: Asked, reply: Reply) -> None:
        await reply.head()
        await reply.text("one")
        await reply.gone()

    async with loopback.serving(endless) as peer:
        backend.follow([record(peer.url)])
        run = backend.run(job(stream=True))
        await anext(run)
        await backend.close()
        with pytest.raises(failures.Unavailable):
            await anext(run)
