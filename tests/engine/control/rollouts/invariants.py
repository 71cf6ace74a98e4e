"""What always holds of a rollout, in whatever order things happen.

Imported by tests.
"""

from __future__ import annotations

import itertools
from typing import Final

from storage import jobs, rollout_webhooks
from storage.jobs import State as JobState
from storage.rollout_looks import Verdict
from storage.rollout_steps import Webhook
from storage.rollouts import MOVES, OPEN, State, Why
from tests.engine.control.rollouts.worlds import CANDIDATE, STABLE, World

FORWARD: Final = {Why.SMOKED, Why.PASSED, Why.AGREED, Why.PROMOTED, Why.PROMOTED_FULLY}
"""The reasons for which the candidate may get more traffic."""


async def check(world: World) -> None:
    """The split, the moves and the messages of the newest rollout, after any event."""
    newest = await world.rollout()
    service, weights = await world.service(), await world.weights()
    legal = {step.weight_bp for step in newest.steps if hasattr(step, "weight_bp")}
    if newest.undoes is None:
        assert newest.weight_bp in {0, *legal, 10_000}
        assert weights.get(CANDIDATE, 0) == newest.weight_bp
        assert weights.get(STABLE, 0) == 10_000 - newest.weight_bp
    assert (service.owner == newest.owner) == (newest.state in OPEN)
    moves = await world.events()
    assert len(moves) == newest.version
    for before, after in itertools.pairwise(moves):
        assert after.before == before.after
        assert MOVES.allows(before.after, after.after)
        assert before.at_us <= after.at_us
        if after.weight_bp > before.weight_bp:
            assert after.why in FORWARD
    looks = await world.looks()
    for move in moves:
        if move.why is Why.PASSED:
            shown = {look.guard for look in looks if look.verdict is Verdict.HOLDS}
            assert shown >= {guard.name for guard in newest.guards if guard.required}
    if newest.mirror is not None:
        assert newest.exposed_at_us is None
    await check_messages(world)


async def check_messages(world: World) -> None:
    """Every question and every notification is sent once; at most one question is open."""
    newest, moves = await world.rollout(), await world.events()
    async with world.store.read() as s:
        sent = [each for each in await jobs.tail(s, 500) if each.kind == rollout_webhooks.JOB]
        asked = await rollout_webhooks.asked(s, newest.webhook_job_id)
    ids = [str(job.arguments["id"]) for job in sent]
    assert len(set(ids)) == len(ids)
    mine = [each for each in ids if each.startswith(f"rollout-{newest.id}-")]
    ended = [move for move in moves if move.after not in OPEN or move.after is State.PAUSED]
    assert sum("-version-" in each for each in mine) == len(ended) * len(newest.notify)
    questions = [job for job in sent if "-step-" in str(job.arguments["id"])]
    waiting = [job.id for job in questions if job.state in {JobState.QUEUED, JobState.RUNNING}]
    assert waiting in ([], [newest.webhook_job_id])
    if newest.state is State.STEPPING and isinstance(newest.current, Webhook):
        assert asked is not None
