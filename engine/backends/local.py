"""The local backend: jobs on this box's workers.

Decides nothing itself: `local_run` runs a job on a pool of instances, `translation` speaks the
worker's terms. Never starts a worker, never records. Imported by the gateway, which hands it to
`engine.execution`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.backends import translation
from engine.backends.embedding_run import EmbeddingRun
from engine.backends.fleet import Fleet
from engine.backends.local_run import LocalRun
from engine.backends.protocol import Run
from engine.backends.worker_client import Refusal
from engine.execution import failures
from engine.execution.job import (
    Chat,
    Embed,
    Job,
    Rerank,
    Score,
    Scored,
    Text,
    Tokens,
    Vocabulary,
)
from engine.serving import wire
from storage.releases import Release


class LocalBackend:
    """Jobs on the pools of a fleet."""

    def __init__(self, fleet: Fleet, *, now_us: Callable[[], int]) -> None:
        """`now_us` is monotonic."""
        self._fleet = fleet
        self._now_us = now_us

    def run(self, job: Job) -> Run:
        """Start a job."""
        if isinstance(job.input, Embed | Rerank):
            return EmbeddingRun(self._fleet, job, job.input, self._now_us)
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

    async def rendered(self, release: Release, chat: Chat, within_s: float) -> str:
        """As `protocol.Tokeniser.rendered`."""
        template = await self._fleet.pool(release).introduced(within_s)
        (prompt,) = await translation.segments(template, release, chat, within_s)
        return "".join(segment.text for segment in prompt)

    async def tokens(
        self,
        release: Release,
        input: Chat | Text,
        within_s: float,
        *,
        bos: bool,
        special: bool | None,
    ) -> Tokens:
        """As `protocol.Tokeniser.tokens`."""
        template = await self._fleet.pool(release).introduced(within_s)
        if special is None and isinstance(input, Text):
            special = template.spells_control(input.prompts)
        if isinstance(input, Text) and special:
            texts = (text for text in input.prompts if isinstance(text, str))
            prompt = tuple(wire.Segment(text, special=True) for text in texts)
        else:
            (prompt,) = await translation.segments(template, release, input, within_s)
        asked = wire.Tokenise(0, release.adapter, prompt, bos, int(within_s * 1e6))
        return await self._tokens(release, asked, input)

    async def described(self, release: Release, within_s: float) -> Vocabulary:
        """As `protocol.Tokeniser.described`."""
        return (await self._fleet.pool(release).introduced(within_s)).vocabulary

    async def spelled(self, release: Release, tokens: Sequence[int], within_s: float) -> Tokens:
        """As `protocol.Tokeniser.spelled`."""
        room = self._fleet.pool(release).context_tokens
        if room and len(tokens) > room:
            raise failures.Invalid(
                f"there are {len(tokens)} tokens, and the context holds {room}; send them in parts",
                code="context_length_exceeded",
                param="tokens",
            )
        asked = wire.Detokenise(0, release.adapter, tuple(tokens), int(within_s * 1e6))
        return await self._tokens(release, asked, Text(()), field="tokens")

    async def _tokens(
        self,
        release: Release,
        asked: wire.Tokenise | wire.Detokenise,
        input: Chat | Text,
        field: str = "",
    ) -> Tokens:
        pool = self._fleet.pool(release)
        try:
            told = await pool.tokens(asked)
        except Refusal as refusal:
            raise translation.failure(refusal.refused, input, field=field) from refusal
        return Tokens(told.tokens, told.raw, pool.context_tokens)

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
