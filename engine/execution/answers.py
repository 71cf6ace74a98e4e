"""Collects the events of one job: texts, token counts and times, choice by choice.

Fed by `engine.execution.execute` and `client`; read by the record and by the gateway's formats.
Knows nothing of backends or of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from engine.execution.job import (
    Call,
    CallDelta,
    Delta,
    Echoed,
    Event,
    Finished,
    Job,
    Message,
    Prefilled,
    Restarted,
    TokenLogprob,
    Vectors,
)


class Choice:
    """One choice so far; `finish` is None until it has ended.

    `echo` is its prompt, where that was to come back and the answer is not streamed. `prefilled`
    is known once it has begun, from backends that say it.
    """

    __slots__ = (
        "_calls",
        "_reasoning",
        "echo",
        "finish",
        "index",
        "last_us",
        "logprobs",
        "parts",
        "prefilled",
        "reasoning_tokens",
        "tokens",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish: Finished | None = None
        self.reset()

    def reset(self) -> None:
        """Discard everything received so far."""
        self.parts: list[str] = []
        self.echo: Echoed | None = None
        self.prefilled: Prefilled | None = None
        self._reasoning: list[str] = []
        self._calls: dict[int, list[CallDelta]] = {}
        self.logprobs: list[TokenLogprob] = []
        self.tokens = 0
        self.reasoning_tokens = 0
        self.last_us = 0

    @property
    def text(self) -> str:
        """The content so far; empty where text is not kept."""
        return "".join(self.parts)

    @property
    def reasoning(self) -> str:
        """What came before the content; empty where text is not kept."""
        return "".join(self._reasoning)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls of tools so far; none where text is not kept."""
        return tuple(
            Call(parts[0].id, parts[0].name, "".join(part.arguments for part in parts))
            for _, parts in sorted(self._calls.items())
        )

    @property
    def said(self) -> str:
        """Content and calls as one text: what is compared with another answer."""
        calls = (f"{call.name}({call.arguments})" for call in self.calls)
        return "\n".join([*([self.text] if self.parts else []), *calls])

    def keep(self, delta: Delta) -> None:
        """Keep what a delta adds."""
        if delta.text:
            self.parts.append(delta.text)
        if delta.reasoning:
            self._reasoning.append(delta.reasoning)
        for part in delta.calls:
            self._calls.setdefault(part.index, []).append(part)


class Answer:
    """All choices of a job.

    Text is kept for answers that are not streamed, and where it is recorded or `keep_text` was
    called; log-probabilities only for answers that are not streamed. `complete` once every choice
    has ended. `first_us` is the monotonic time of the first token; `gaps` collects the microseconds
    between tokens of a choice. `vectors` are what embeddings and rerankings have instead of text.
    """

    def __init__(self, job: Job, gaps: list[int]) -> None:
        self._prompts = job.choices // job.n
        self._keeps_text = job.record_text or not job.stream
        self._keeps_logprobs = not job.stream
        self._open = job.choices
        self.complete = False
        self.gaps = gaps
        self.first_us: int | None = None
        self.vectors: Vectors | None = None
        self.choices = [Choice(index) for index in range(job.choices)]

    def keep_text(self) -> None:
        """Keep the text, before the first event: the answer is to be compared with another one."""
        self._keeps_text = True

    def add(self, events: Iterable[Event]) -> None:
        """Count a batch of events."""
        for event in events:
            if isinstance(event, Delta):  # written out: this runs once for every token
                choice = self.choices[event.index]
                at_us = event.at_us if event.tokens else choice.last_us
                if choice.last_us and event.tokens:
                    self.gaps.append(at_us - choice.last_us)
                elif self.first_us is None:
                    self.first_us = at_us
                choice.last_us = at_us
                choice.tokens += event.tokens
                if event.reasoning:
                    choice.reasoning_tokens += event.tokens
                if self._keeps_text:
                    choice.keep(event)
                if self._keeps_logprobs and event.logprobs:
                    choice.logprobs += event.logprobs
            else:
                self._mark(event)

    def _mark(self, event: Echoed | Finished | Prefilled | Restarted | Vectors) -> None:
        if isinstance(event, Finished):
            self.end(event)
        elif isinstance(event, Prefilled):
            self.choices[event.index].prefilled = event
        elif isinstance(event, Restarted):
            self._restart()
        elif isinstance(event, Vectors):
            self.vectors = event
        elif self._keeps_logprobs:
            self.choices[event.index].echo = event

    def end(self, finish: Finished) -> None:
        """A choice has ended."""
        choice = self.choices[finish.index]
        if choice.finish is None:
            self._open -= 1
            self.complete = self._open == 0
        choice.finish = finish

    def _restart(self) -> None:
        self.first_us = self.vectors = None
        self._open = len(self.choices)
        self.complete = False
        for choice in self.choices:
            choice.finish = None
            choice.reset()

    # totals

    @property
    def finishes(self) -> Sequence[Finished]:
        """The closing events of the choices that have ended."""
        return [choice.finish for choice in self.choices if choice.finish is not None]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts; a prompt with several choices counts once."""
        return self._of_prompts(lambda finish: finish.prompt_tokens, max)

    @property
    def cached_tokens(self) -> int:
        """Those of the prompt tokens that were in a cache.

        The minimum over choices: later ones find what the first computed in the cache.
        """
        return self._of_prompts(lambda finish: finish.cached_tokens, min)

    def _of_prompts(
        self, tokens: Callable[[Finished], int], of: Callable[[Iterable[int]], int]
    ) -> int:
        each = len(self.choices) // self._prompts
        choices = iter(self.choices)
        counts = (
            [tokens(c.finish) for c in islice(choices, each) if c.finish]
            for _ in range(self._prompts)
        )
        return sum(of(count) for count in counts if count)

    @property
    def completion_tokens(self) -> int:
        """Tokens of all choices."""
        return sum(
            max(choice.tokens, choice.finish.completion_tokens if choice.finish else 0)
            for choice in self.choices
        )

    @property
    def reasoning_tokens(self) -> int:
        """Those of the completion tokens that are reasoning."""
        return sum(choice.reasoning_tokens for choice in self.choices)

    @property
    def turn(self) -> Message | None:
        """The only choice as a turn of the conversation, where it is more than its text."""
        if self.plain or len(self.choices) > 1:
            return None
        (choice,) = self.choices
        return Message("assistant", choice.text, choice.reasoning, choice.calls)

    @property
    def text(self) -> str:
        """The texts of all choices, calls included, separated by blank lines."""
        return "\n\n".join(choice.said for choice in self.choices)

    @property
    def plain(self) -> bool:
        """Whether the choices are content alone, in the tokens that the model chose."""
        return not any(choice.reasoning or choice.calls for choice in self.choices)
