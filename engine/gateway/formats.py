"""What writes an answer in the dialect of its endpoint, whole or streamed.

Imported by the dialects' formats, and by what sends their bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engine.execution.answers import Answer, Choice
from engine.execution.job import CallDelta, Echoed, Finished, TokenLogprob
from engine.gateway.errors import Problem


@dataclass(frozen=True, slots=True)
class Head:
    """The fields shared by all documents of one answer; `created` in seconds."""

    id: str
    created: int
    model: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the clients of an endpoint read errors.

    `error` makes the document from a problem and the id of the request, None before it has one;
    `id_header` is where they look for that id.
    """

    error: Callable[[Problem, str | None], bytes]
    id_header: str


class Document(ABC):
    """One whole answer."""

    @abstractmethod
    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """The document in pieces, each of which takes little time to make."""

    def whole(self, answer: Answer) -> bytes:
        """The answer as one document."""
        return b"".join(self.pieces(answer))


class Format(Document):
    """One answer being written, whole or streamed."""

    @abstractmethod
    def opening(self, choice: Choice) -> bytes:
        """What comes before the text of a choice, once it has begun."""

    @abstractmethod
    def chunk(self, index: int, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        """New text of a choice."""

    def echoed(self, echo: Echoed) -> Iterator[bytes]:  # noqa: ARG002 only completions have it
        """The prompt of a choice, in pieces; it comes before everything else of it."""
        yield from ()

    def reasoning(self, index: int, text: str) -> bytes:  # noqa: ARG002 most dialects have none
        """New reasoning of a choice; it comes before the text."""
        return b""

    def calls(self, index: int, parts: Sequence[CallDelta]) -> bytes:  # noqa: ARG002 the same
        """New parts of a choice's calls of tools; they come after the text."""
        return b""

    @abstractmethod
    def ending(self, finished: Finished) -> bytes:
        """The end of a choice."""

    @abstractmethod
    def closing(self, answer: Answer) -> bytes:
        """The end of the stream."""

    @abstractmethod
    def failed(self, problem: Problem) -> bytes:
        """The end of a stream that cannot be finished."""
