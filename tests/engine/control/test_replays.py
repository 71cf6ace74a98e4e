"""What can be asked again, and what is refused with what to do about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest_asyncio

from storage import jobs, replay_items, replays, requests, texts
from storage.home import clock
from storage.intents import State
from storage.requests import Outcome, Request
from storage.store import Session
from tests.engine.control.desks import Desk, desk

ASKED: Final = '{"input":{"type":"text","prompts":["x"]},"options":{}}'


def recorded(id: str, outcome: Outcome = Outcome.OK, at_us: int | None = None) -> Request:
    """A request of `support`."""
    return Request(
        id=id, at_us=clock.now_us() if at_us is None else at_us, service="support", release=1,
        worker="w", endpoint="/", key_id=1, tenant="t", outcome=outcome, seed=2**64 - 1,
    )  # fmt: skip


def text(id: str, asked: str | None = ASKED, at_us: int | None = None) -> texts.Text:
    """Its text."""
    at_us = clock.now_us() if at_us is None else at_us
    return texts.Text(request_id=id, at_us=at_us, prompt="x", completion="y", asked=asked)


@pytest_asyncio.fixture
async def control(tmp_path: Path) -> AsyncIterator[Desk]:
    """A service with requests that can and that cannot be replayed."""
    async with desk(tmp_path / "home", furnished=True) as made:

        async def work(s: Session) -> None:
            await requests.record(
                s,
                [
                    recorded("req_whole"), recorded("req_silent"), recorded("req_early"),
                    recorded("req_gone", Outcome.CANCELLED),
                ],
            )  # fmt: skip
            await texts.record(s, [text("req_whole"), text("req_early", None), text("req_gone")])

        await made.store.write(work)
        yield made


async def refusal(control: Desk, id: str, release: str = "r2") -> str:
    """Why a request cannot be asked again."""
    refused = await control.do("replays.request", id, release=release)
    assert refused.state is State.REFUSED
    return refused.outcome or ""


async def test_a_request_without_its_text_or_settings_is_refused(control: Desk) -> None:
    """With what to do so that later ones can be replayed."""
    assert "`paddock services set support --record-text`" in await refusal(control, "req_silent")
    assert "by an earlier version of Paddock" in await refusal(control, "req_early")
    assert "was cancelled before it had an answer" in await refusal(control, "req_gone")
    assert "There is no request req_nine" in await refusal(control, "req_nine")
    assert "r9" in await refusal(control, "req_whole", "r9")


async def test_a_bisection_needs_two_releases(control: Desk) -> None:
    """The service has had one."""
    refused = await control.do("replays.bisect", "support", request="req_whole")
    assert "fewer than two releases" in (refused.outcome or "")


async def test_a_release_is_held_while_its_replay_is_open(control: Desk) -> None:
    """Cancelling the job releases it, and so does its end."""
    number = await control.accept("replays.request", "req_whole", release="r2")
    await control.control.settle()
    async with control.store.read() as s:
        replay = await replays.of_intent(s, number)
        assert await replays.held(s) == {2}
    assert replay is not None
    await control.store.write(lambda s: jobs.cancel(s, replay.job_id, actor="kim", at_us=9))
    async with control.store.read() as s:
        assert await replays.held(s) == frozenset()
        (item,) = await replay_items.of(s, replay.id)
    assert (item.seed, item.before.text, item.asked) == (2**64 - 1, "y", ASKED)


async def test_items_are_deleted_at_the_age_of_their_requests_texts(control: Desk) -> None:
    """A replay of yesterday does not keep a text of last week."""
    number = await control.accept("replays.request", "req_whole", release="r2")
    await control.control.settle()
    later = clock.now_us() + 1

    async def age(s: Session) -> tuple[int, int]:
        return await replay_items.prune(s, later), await replays.prune(s, later)

    assert await control.store.write(age) == (1, 0)  # its job is still there
    async with control.store.read() as s:
        assert await replays.of_intent(s, number) is not None


async def test_a_sample_draws_only_what_can_be_asked_again(control: Desk) -> None:
    """Of answers and failures that have their settings; others are counted."""
    async with control.store.read() as s:
        found = await replay_items.replayable(s, "support", 0, clock.now_us())
    assert found == [("req_whole", True), ("req_silent", False), ("req_early", False)]
