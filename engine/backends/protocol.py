"""What every backend offers: run a job, score a continuation, say whether it can answer.

Rendering a chat template and tokenising belong to the local backend; an upstream does both itself.
Implemented by `engine.backends.local` and `engine.backends.upstream`; used by `engine.execution`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from engine.execution.job import Event, Job, Score, Scored
from storage.releases import Release


class Backend(Protocol):
    """Produces answers for some of the releases."""

    def run(self, job: Job) -> AsyncGenerator[tuple[Event, ...], None]:
        """The events of a job, in batches as they come; closing the generator cancels the job.

        Every choice ends with one `Finished`. While nothing was yielded, or the job does not
        stream, a backend may begin again after losing its server (`Restarted`).

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
        """
        ...

    async def score(self, score: Score) -> Scored:
        """The log-probabilities of a continuation, by one prefill and no decoding.

        Raises:
            failures.Failure: this backend cannot score (code `scoring_unsupported`), or not now.
        """
        ...

    def unready(self, release: Release) -> str | None:
        """Why the release cannot produce tokens now, as a clause; None when it can."""
        ...

    def scores(self, release: Release) -> bool:
        """Whether `score` works for the release."""
        ...
