"""The local backend: jobs on this box's workers.

Decides nothing itself: `local_run` runs a job on a pool of instances, `translation` speaks the
worker's terms. Never starts a worker, never records. Imported by the gateway, which hands it to
`engine.execution`.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.backends import translation
from engine.backends.fleet import Fleet
from engine.backends.local_run import LocalRun
from engine.backends.worker_client import Refusal
from engine.execution import failures
from engine.execution.job import Job, Score, Scored
from storage.releases import Release


class LocalBackend:
    """Jobs on the pools of a fleet."""

    def __init__(self, fleet: Fleet, *, now_us: Callable[[], int]) -> None:
        """`now_us` is monotonic."""
        self._fleet = fleet
        self._now_us = now_us

    def run(self, job: Job) -> LocalRun:
        """Start a job."""
        return LocalRun(self._fleet, job, self._now_us)

    async def score(self, score: Score) -> Scored:
        """The log-probabilities of a continuation.

        Raises:
            failures.Failure: the release cannot score this, or not now.
        """
        pool = self._fleet.pool(score.release)
        template = await pool.introduced(score.queue_us / 1e6)
        prompts = await translation.segments(
            template, score.release, score.input, score.queue_us / 1e6
        )
        if len(prompts) != 1:
            raise failures.Invalid("one prompt can be scored at a time", code="invalid_value")
        try:
            scored = await pool.score(translation.score(score, prompts[0]))
        except Refusal as refusal:
            raise translation.failure(refusal.refused, score.input) from refusal
        return Scored(scored.tokens, scored.prompt_tokens, scored.busy_us, scored.top_tokens)

    def unready(self, release: Release) -> str | None:
        """Why the release cannot produce tokens now, as a clause; None when it can."""
        return self._fleet.unready(release)

    def unable(self, release: Release) -> str | None:
        """What is wrong with the templates of a release, as a clause; None when nothing is known.

        Retrying does not help: a template failed its trial or was quarantined.
        """
        return self._fleet.unable(release)

    def scores(self, release: Release) -> bool:  # noqa: ARG002 the same for all
        """Whether `score` works for the release."""
        return True
