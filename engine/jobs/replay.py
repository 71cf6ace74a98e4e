"""The job of a replay: asks recorded requests again, one after the other, and compares.

It goes through the gateway's internal socket in class background, so that users come first, and
under a service's name that no service can have. Each answer is kept before the next request is
asked: a job that is resumed asks what has no answer yet. A release that no split names is loaded
for as long as the job is open. Imported by `engine.jobs.kinds`, by name.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from engine.jobs import bisection_report, kinds, replay_report
from engine.jobs.context import Context
from engine.jobs.errors import Refused
from engine.jobs.replay_asking import Asking
from engine.prompting.renderer.pool import Renderer
from storage import errors, releases, replay_items, replays
from storage.replays import Kind, Replay
from storage.store import Session


async def choose(context: Context) -> kinds.Effect:
    """The requests of a sample, drawn uniformly; those of other kinds are known already."""
    replay = await _replay(context)
    if replay.kind is not Kind.SAMPLE:
        return _nothing
    async with context.store.read() as s:
        known = await replay_items.replayable(
            s, replay.service, replay.since_us or 0, replay.asked_at_us
        )
        before = await replay_items.counts(s, [replay.id])  # of a run that was retried
    fit = [id for id, complete in known if complete]
    if not fit and not before:
        raise Refused(_none(replay, len(known)))
    drawn = random.Random(replay.id).sample(fit, min(replay.sample, len(fit)))
    chosen = [] if before else [(id, replay.releases[0]) for id in drawn]

    async def work(s: Session) -> dict[str, int]:
        count = await replay_items.add(s, replay.id, chosen)
        return {"chosen": count, "of": len(known), "complete": len(fit)}

    return work


async def ask(context: Context) -> dict[str, int]:
    """Ask everything that has no answer yet."""
    replay = await _replay(context)
    async with Renderer(processes=1) as renderer:
        asking = Asking(context, replay, renderer)
        if replay.kind is Kind.BISECTION:
            return await asking.bisect()
        return await asking.every()


async def conclude(context: Context) -> kinds.Effect:
    """Keep the report; its sentence is the outcome."""
    replay = await _replay(context)
    async with context.store.read() as s:
        items = await replay_items.of(s, replay.id)
        if replay.kind is Kind.BISECTION:
            skipped = context.job.arguments.get("skipped", [])
            report = await bisection_report.report(s, replay, items, skipped)
        else:
            release = await releases.get(s, replay.releases[0])
            report = replay_report.single(items, release.backend)
            if replay.kind is Kind.SAMPLE:
                report = await asyncio.to_thread(
                    replay_report.report, items, release.backend, _missing(context)
                )

    async def work(s: Session) -> str:
        await replays.end(s, replay, report, at_us=context.now_us())
        return f"{report.sentence} `paddock releases replays show {replay.id}` shows more."

    return work


KIND: Final = kinds.Kind(
    (kinds.Step("choose", choose), kinds.Step("ask", ask), kinds.Step("conclude", conclude))
)


def _missing(context: Context) -> list[str]:
    """A note on requests that could not be drawn."""
    chosen = context.results.get("choose")
    if not isinstance(chosen, dict) or chosen["of"] == chosen["complete"]:
        return []
    left = chosen["of"] - chosen["complete"]
    said = f"{left} of {chosen['of']} requests were recorded without their text or their settings"
    return [f"{said}; the sample is from the others."]


def _none(replay: Replay, known: int) -> str:
    advice = f"`paddock services set {replay.service} --record-text` records those to come."
    if known:
        return (
            f"None of the {known} requests of {replay.service} in that time was recorded with its "
            f"text; {advice}"
        )
    return f"{replay.service} has no request in that time that ended in an answer or a failure."


async def _nothing(_: Session) -> None:
    return None


async def _replay(context: Context) -> Replay:
    number = context.job.arguments.get("replay")
    if not isinstance(number, int):
        raise Refused("The job names no replay.")
    try:
        async with context.store.read() as s:
            return await replays.find(s, number)
    except errors.NotFound as error:
        raise Refused(str(error)) from error
