"""Rollouts that ask a webhook: a real server on loopback, and the real job that calls it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest_asyncio

from engine.control import upstreams
from engine.control.rollouts.decide import Do
from storage import jobs
from storage.home import clock, secrets
from storage.jobs import State as JobState
from storage.rollout_steps import Analysis, OnNo, Pause, SetWeight, Webhook
from storage.rollouts import State, Why
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.walks import AFTER, BEFORE, ENOUGH, smoked
from tests.engine.control.rollouts.worlds import World
from tests.engine.jobs import run_jobs
from tests.engine.webhooks import hooks
from tests.engine.webhooks.hooks import NO, YES, Does, Hook, answer

WHOLE: Final = (SetWeight(10_000), Analysis())


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The box of a test."""
    async with worlds.made(tmp_path / "home") as made:
        yield made


async def asking(world: World, hook: Hook, *, on_no: OnNo = OnNo.PAUSE, **more: Any) -> None:
    """A rollout that asks before its only weight, and is asking."""
    steps = (Webhook(hook.url, at_most_s=60, on_no=on_no), *WHOLE)
    await world.start(steps=msgspec.to_builtins(steps), **more)
    await smoked(world)
    assert [plan.do for plan in await world.settle()] == [Do.ENTER]


async def outcome(world: World) -> tuple[State, Why, dict[int, int]]:
    """Where the newest rollout is, why, and the split."""
    await world.settle()
    newest = await world.rollout()
    return newest.state, newest.why, await world.weights()


async def test_a_yes_leads_on_and_the_question_says_what_it_is_about(world: World) -> None:
    """Signed with the deposited key; another look asks nothing again."""
    key = secrets.deposit(world.store.home, "hunter2")
    async with hooks.served(answer(200, {"reason": "ticket 17 is approved"})) as hook:
        await asking(world, hook, webhook_secret=key)
        assert await world.weights() == BEFORE
        await run_jobs.run(world.store)
        assert await outcome(world) == (State.STEPPING, Why.NEXT, AFTER)
        agreed = (await world.events())[-2]
        assert agreed.why is Why.AGREED
        assert "agreed (200): ticket 17 is approved" in agreed.sentence
        assert await run_jobs.run(world.store) == []
    (request,) = hook.requests
    about = request.body
    assert (about["type"], about["service"], about["candidate"], about["weight_bp"]) == (
        "rollout.question", "support", "r2", 0,
    )  # fmt: skip
    assert (about["step"], about["next"]) == (1, "100 %")
    id, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    assert id == "rollout-1-attempt-1-step-1"
    digest = hmac.digest(b"hunter2", f"{id}.{at}.".encode() + request.raw, hashlib.sha256)
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert b"hunter2" not in request.raw


async def test_a_no_pauses_or_aborts_as_the_step_says(world: World) -> None:
    """Paused, a person may promote it; the answer is the reason."""
    async with hooks.served(NO) as hook:
        await asking(world, hook)
        await run_jobs.run(world.store)
        assert await outcome(world) == (State.PAUSED, Why.DECLINED, BEFORE)
        assert "said no (200): the error budget is spent." in (await world.rollout()).sentence
        await world.ask("rollouts.promote", rollout=1)
        assert await outcome(world) == (State.STEPPING, Why.NEXT, AFTER)
        await world.ask("rollouts.abort", rollout=1)
        world.wait(4000)
        await world.settle()
        await world.start(steps=msgspec.to_builtins((Webhook(hook.url, on_no=OnNo.ABORT), *WHOLE)))
        await world.settle()
        await world.smoke()
        await world.settle()
        await run_jobs.run(world.store)
        assert await outcome(world) == (State.ABORTED, Why.DECLINED, BEFORE)


async def test_silence_pauses_at_the_end_of_the_step_and_withdraws_the_question(
    world: World,
) -> None:
    """A job that waits to ask again is cancelled; what it met is in the reason."""
    async with hooks.served(answer(503)) as hook:
        await asking(world, hook)
        (job,) = await run_jobs.run(world.store)
        assert job.state is JobState.QUEUED
        world.wait(59)
        assert await world.settle() == []
        world.wait(1)
        assert await outcome(world) == (State.PAUSED, Why.UNANSWERED, BEFORE)
    said = (await world.rollout()).sentence
    assert f"No answer from {hook.url} within 60 s: it answered 503." in said
    async with world.store.read() as s:
        assert (await jobs.find(s, job.id)).state is JobState.CANCELLED


async def test_what_cannot_be_asked_pauses_at_once(world: World) -> None:
    """A redirect, which is not followed; the address is to be corrected by a person."""
    async with hooks.served(answer(302, location="http://elsewhere/")) as hook:
        await asking(world, hook)
        await run_jobs.run(world.store)
        assert await outcome(world) == (State.PAUSED, Why.UNANSWERED, BEFORE)
    assert "redirects to http://elsewhere," in (await world.rollout()).sentence


async def test_a_question_that_is_sent_again_has_the_same_id_and_body(world: World) -> None:
    """After a dropped connection, and after a crash between the answer and its record."""
    async with hooks.served(Does.DROP, YES) as hook:
        await asking(world, hook)
        (job,) = await run_jobs.run(world.store)
        assert job.state is JobState.QUEUED
        await run_jobs.attempt(world.store, job)
        assert await outcome(world) == (State.STEPPING, Why.NEXT, AFTER)
    first, second = hook.requests
    assert hook.ids == ["rollout-1-attempt-1-step-1"] * 2
    assert first.raw == second.raw


async def test_harm_takes_the_candidate_back_while_a_webhook_is_asked(world: World) -> None:
    """The weight before it is still watched; the open question is withdrawn."""
    async with hooks.served(YES) as hook:
        steps = (SetWeight(500), Analysis(), Webhook(hook.url), *WHOLE)
        await world.start(steps=msgspec.to_builtins(steps))
        await smoked(world)
        await world.settle()
        world.wait(10)
        await world.serve(ENOUGH)
        await world.settle()
        assert isinstance((await world.rollout()).current, Webhook)
        world.wait(10)
        await world.serve(100, failed=100)
        assert await outcome(world) == (State.ABORTED, Why.HARM, BEFORE)
        assert await run_jobs.run(world.store) == []
    assert hook.requests == []


async def test_pauses_and_ends_are_news_that_no_undo_waits_for(world: World) -> None:
    """The address is dead all the while; the candidate goes back at once, and news is queued."""
    async with hooks.served(YES) as hook:
        pass
    key = secrets.deposit(world.store.home, "hunter2")
    await world.start(
        strategy="blue_green", notify=[hook.url], webhook_secret=key,
        steps=msgspec.to_builtins((SetWeight(10_000), Pause())),
    )  # fmt: skip
    await smoked(world)
    await world.settle()
    await world.ask("rollouts.promote", rollout=1)
    assert await outcome(world) == (State.COMPLETED, Why.PROMOTED, AFTER)
    done = await world.ask("rollouts.undo", rollout=1)
    assert "support is back on r1" in (done.outcome or "")
    assert await world.weights() == BEFORE
    async with world.store.read() as s:
        queued = await jobs.unfinished(s)
    news = [job.arguments["body"]["type"] for job in queued]
    assert news == ["rollout.paused", "rollout.completed", "rollout.undone"]
    await upstreams.sweep(
        world.store.home, world.store, lambda: clock.now_us() + 2 * 86_400_000_000
    )
    assert secrets.read(world.store.home, key) == "hunter2"  # a rollout refers to it
