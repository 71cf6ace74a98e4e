"""Asks the items of a replay, one after the other, and keeps each answer before the next.

Waits until the release is loaded, renders its prompt, and tries again while the gateway refuses for
a passing reason. Never chooses what to ask. Imported by `engine.jobs.replay`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from engine.execution import failures
from engine.execution import replays as planning
from engine.execution.answers import Answer as Answered
from engine.execution.client import Client
from engine.execution.job import Asked, Job, Message
from engine.jobs import bisection, bisection_report
from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from engine.judging import texts
from engine.prompting import prompt_template
from engine.prompting.renderer.pool import Renderer
from storage import availability, errors, job_attempts, prompts, releases, replay_items, replays
from storage.availability import Can
from storage.home import clock
from storage.releases import Release
from storage.replay_items import Answer, Item
from storage.replays import Replay
from storage.requests import Outcome
from storage.store import Session

DEADLINE_US: Final = 660_000_000
LOAD_S: Final = 1800.0
"""How long a release may take to load."""
PATIENCE_S: Final = 120.0
"""How long the gateway may refuse a request for a passing reason before the attempt ends."""
_TEMPORARY: Final = frozenset({"gateway_unavailable", "release_unavailable", "worker_gone"})
_AGAIN_S: Final = 1.0


class Asking:
    """The requests of one attempt."""

    def __init__(self, context: Context, replay: Replay, renderer: Renderer) -> None:
        self._context = context
        self._replay = replay
        self._renderer = renderer
        self._client = Client(context.home)
        self._ready: Release | None = None
        self._prompts: dict[int, prompt_template.Prompt] = {}

    async def every(self) -> dict[str, int]:
        """All items, in the order in which they were chosen."""
        context = self._context
        async with context.store.read() as s:
            left = await replay_items.to_ask(s, self._replay.id)
            _, total = (await replay_items.counts(s, [self._replay.id])).get(
                self._replay.id, (0, 0)
            )
        done = total - len(left)
        for position in left:
            context.progress(done, total, "requests")
            async with context.store.read() as s:
                item = await replay_items.find(s, self._replay.id, position)
            if item is not None:  # otherwise its text was deleted by retention
                await self._ask(item)
            done += 1
        context.progress(done, total, "requests")
        return {"asked": total}

    async def bisect(self) -> dict[str, int]:
        """Ask one release after the other, as the bisection requires."""
        context, replay = self._context, self._replay
        while True:
            async with context.store.read() as s:
                items = await replay_items.of(s, replay.id)
            if not items:
                raise Refused("The text of the request has been deleted.")
            by_release = {item.release: item for item in items}
            for item in items:
                if item.after is None:
                    await self._ask(item)
                    break
            else:
                step = bisection.decide(replay.releases, bisection_report.goods(replay, items))
                if not isinstance(step, bisection.Ask):
                    return {"asked": len(by_release)}
                context.progress(len(items), None, "releases")
                request, release = items[0].request_id, step.release
                await self._write(
                    lambda s, request=request, release=release: replay_items.add(  # type: ignore[misc]
                        s, replay.id, [(request, release)]
                    )
                )

    async def _ask(self, item: Item) -> None:
        release = await self._loaded(item.release)
        after = await self._answer(item, release)
        f1 = None
        if item.before.ok and after.ok:
            f1 = texts.token_f1(item.before.text, after.text)
        if not after.ok:
            self._context.log(f"{item.request_id} on {release.name}: {after.why}")
        await self._write(
            lambda s: replay_items.answer(s, item, after, f1, at_us=self._context.now_us())
        )

    async def _answer(self, item: Item, release: Release) -> Answer:
        until_us = clock.monotonic_us() + int(PATIENCE_S * 1e6)
        try:
            asked = planning.read(item.asked)
            prompt = await self._rendered(release, asked)
        except planning.Unreadable as error:
            return _failure(release, "unreadable", str(error))
        except (prompt_template.BadVariables, prompt_template.BrokenPrompt) as error:
            return _failure(release, "prompt_failed", str(error))
        except failures.Failure as failure:
            raise Transient(f"The prompt cannot be rendered now: {failure.message}.") from failure
        while True:
            job = planning.job(
                asked,
                release,
                prompt,
                id=f"req_{secrets.token_hex(12)}",
                seed=item.seed or 0,
                at_us=self._context.now_us(),
                arrived_us=clock.monotonic_us(),
            )
            try:
                answer = await self._client.run(job, deadline_us=DEADLINE_US).whole()
            except failures.Failure as failure:
                if not _passes(failure):
                    return _failure(release, failure.code, failure.message)
                if clock.monotonic_us() > until_us:
                    raise Transient(f"{failure.message} ({failure.code}).") from failure
            else:
                return _answer(job, answer)
            await asyncio.sleep(_AGAIN_S)
            self._context.check()

    async def _rendered(self, release: Release, asked: Asked) -> tuple[Message, ...]:
        number = release.prompt_version_id
        if number is None:
            if asked.variables:
                raise prompt_template.BadVariables(
                    f"release {release.name} has no prompt and takes no prompt_variables"
                )
            return ()
        if number not in self._prompts:
            async with self._context.store.read() as s:
                version = await prompts.get(s, number)
            self._prompts[number] = prompt_template.Prompt(version, self._renderer)
        return await self._prompts[number].render(asked.variables)

    async def _loaded(self, number: int) -> Release:
        """Wait until the release can answer; it is held loaded until the next one is."""
        if self._ready is not None and self._ready.number == number:
            return self._ready
        context, store = self._context, self._context.store
        async with store.read() as s:
            replay = await replays.find(s, self._replay.id)
            release = await releases.get(s, number)
        if replay.holds != number:
            await self._write(lambda s: replays.hold(s, replay, number, at_us=context.now_us()))
        until_us, said = clock.monotonic_us() + int(LOAD_S * 1e6), ""
        while True:
            context.check()
            async with store.read() as s:
                now = (await availability.every(s, [number]))[number]
            if now.can is Can.ANSWER:
                self._ready = release
                return release
            if now.can is Can.NOT:
                raise Refused(f"{release.name} cannot answer: {now.reason}.")
            if now.reason != said:
                said = now.reason
                context.log(f"waiting for {release.name}: {said}")
            if clock.monotonic_us() > until_us:
                raise Refused(f"{release.name} did not load within 30 minutes: {now.reason}.")
            await asyncio.sleep(_AGAIN_S)

    async def _write(self, work: Callable[[Session], Awaitable[object]]) -> None:
        """Write while this attempt holds the job."""
        job = self._context.job

        async def guarded(s: Session) -> None:
            await job_attempts.running(s, job.id, job.attempt)
            await work(s)

        try:
            await self._context.store.write(guarded)
        except errors.Unavailable as error:
            raise Transient(f"The store cannot be written: {error}") from error


def _passes(failure: failures.Failure) -> bool:
    return failure.code in _TEMPORARY or isinstance(failure, failures.Overloaded)


def _failure(release: Release, code: str, why: str) -> Answer:
    return Answer(release=release.number, outcome=Outcome.FAILED, error=code, why=why)


def _answer(job: Job, answer: Answered) -> Answer:
    finishes = answer.finishes
    return Answer(
        release=job.release.number,
        outcome=Outcome.OK,
        text=answer.text,
        finish_reason=finishes[0].reason if finishes else None,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        queue_us=max((finish.queue_us for finish in finishes), default=0),
        ttft_us=None if answer.first_us is None else answer.first_us - job.arrived_us,
        latency_us=clock.monotonic_us() - job.arrived_us,
    )
