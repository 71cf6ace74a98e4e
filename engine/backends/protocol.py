"""The interface of backends: run a job, score a continuation, report readiness.

Rendering a chat template and tokenising belong to the local backend; an upstream does both itself.
Implemented by `engine.backends.local` and `engine.backends.upstream`; used by `engine.execution`,
which picks the backend by `release.backend`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Protocol, runtime_checkable

from engine.execution.job import (
    Chat,
    Event,
    Finished,
    Job,
    Score,
    Scored,
    Text,
    Tokens,
    Vocabulary,
)
from storage.releases import Release


class Run(Protocol):
    """One job on a backend: an iterator over batches of events. An async generator is one."""

    def __aiter__(self) -> AsyncIterator[tuple[Event, ...]]:
        """Itself."""
        ...

    def __anext__(self) -> Coroutine[Any, Any, tuple[Event, ...]]:
        """The events since the last batch; waits until there are any. May be cancelled.

        Raises:
            failures.Failure: the job cannot be answered, or not to its end.
            StopAsyncIteration: every choice has ended with one `Finished`.
        """
        ...

    def aclose(self) -> Coroutine[Any, Any, tuple[Finished, ...] | None]:
        """Cancel what is still running; also called after the last `Finished`.

        Returns the counts of cancelled choices, where the backend knows them; they come
        after the client has its last byte, so that no client waits for them.
        """
        ...


@runtime_checkable
class Tokeniser(Protocol):
    """What a backend offers besides, if it has the vocabulary and the chat template."""

    async def rendered(self, release: Release, chat: Chat, within_s: float) -> str:
        """The text that a conversation becomes.

        Raises:
            failures.Failure: it cannot be rendered, or not now.
        """
        ...

    async def tokens(
        self,
        release: Release,
        input: Chat | Text,
        within_s: float,
        *,
        bos: bool,
        special: bool | None,
    ) -> Tokens:
        """The tokens of a prompt; with `special` control tokens spelled in a text are parsed.

        None parses a text that is nothing but a control token.

        Raises:
            failures.Failure: there are too many, or no instance can tell now.
        """
        ...

    async def described(self, release: Release, within_s: float) -> Vocabulary:
        """The texts of its special tokens and its chat template.

        Raises:
            failures.Failure: no instance was ever connected.
        """
        ...

    async def spelled(self, release: Release, tokens: Sequence[int], within_s: float) -> Tokens:
        """The bytes of tokens.

        Raises:
            failures.Failure: the vocabulary lacks one, or no instance can tell now.
        """
        ...


class Backend(Protocol):
    """Produces answers for some of the releases."""

    def run(self, job: Job) -> Run:
        """Start a job. Every choice ends with one `Finished`.

        While nothing was yielded, or the job does not stream, a backend may begin again after it
        lost its server; it yields `Restarted` if events had been yielded before.
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
