"""The prompt of a local job that comes back before its answers: scored once for all its choices.

What was computed for it counts for the first of them. Imported by `engine.backends.local_run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from engine.execution import failures
from engine.execution.job import Echoed, Finished, Job, PromptToken
from engine.serving import wire

_TOKENS: Final = 32
_CHARACTERS: Final = 128
"""Prompts that have so much in common are worth a wait."""


class Run(Protocol):
    """The job that a prompt belongs to."""

    waited_us: int

    def prompt_scored(self, scoring: PromptScoring, scored: wire.Scored) -> None:
        """The prompt was scored; its choices may begin."""

    def refused(self, refused: wire.Refused, index: int) -> None:
        """A sequence was refused; the job fails."""

    def settled(self) -> None:
        """A sequence that was cancelled has ended."""

    def instance_of(self, id: int) -> str:
        """The instance that computes a sequence."""


class PromptScoring:
    """One prompt on a worker; the worker's client calls it. `index` is that of its first choice."""

    __slots__ = (
        "finish",
        "id",
        "index",
        "instance",
        "over",
        "prompt",
        "run",
        "scored",
        "wasted_us",
    )

    def __init__(self, run: Run, index: int, prompt: tuple[wire.Segment, ...]) -> None:
        self.run = run
        self.index = index
        self.prompt = prompt
        self.id = 0
        self.over = False
        self.scored: wire.Scored | None = None
        self.finish: Finished | None = None
        self.instance = ""
        self.wasted_us = 0

    def takes(self, result: wire.Result) -> bool:
        """Take what the worker found, if it is a score."""
        if not isinstance(result, wire.Scored):
            return False
        self.over = True
        self.scored = result
        self.instance = self.run.instance_of(self.id)
        self.finish = self.ended(self.index, "cancelled")  # unless its choices end otherwise
        self.run.prompt_scored(self, result)
        return True

    def ended(self, index: int, reason: str) -> Finished:
        """The end of a choice that is nothing but the prompt."""
        scored = self.scored
        assert scored is not None  # noqa: S101 it is asked once there is a result
        return Finished(
            index,
            reason,
            scored.prompt_tokens,
            0,
            self.run.waited_us + scored.queue_us,
            scored.busy_us if index == self.index else 0,
            self.instance,
            cached_tokens=scored.cached_tokens,
        )

    def refused(self, refused: wire.Refused) -> None:
        """The worker refused it; the job fails."""
        self.over = True
        self.wasted_us += refused.busy_us
        self.instance = self.run.instance_of(self.id)
        self.run.refused(refused, self.index)

    def finished(self, finished: wire.Finished) -> None:
        """It was cancelled."""
        self.over = True
        self.finish = Finished(
            self.index,
            "cancelled",
            finished.prompt_tokens,
            0,
            self.run.waited_us + finished.queue_us,
            finished.busy_us,
            self.run.instance_of(self.id),
        )
        self.run.settled()

    def delta(self, _: wire.Delta, __: int) -> None:
        """There is none."""

    def lost(self) -> bool:
        """The worker died: score it again, nothing was passed on."""
        return True


def leaders(prompts: Sequence[tuple[wire.Segment, ...]]) -> dict[int, int]:
    """Which prompts wait for the score of which earlier one, because they begin like it.

    The worker then scores no more than what they have of their own.
    """
    first: dict[str | tuple[int, ...], int] = {}
    found: dict[int, int] = {}
    for number, (segment, *_) in enumerate(prompts):
        size = _TOKENS if segment.tokens else _CHARACTERS
        beginning = (segment.tokens or segment.text)[:size]
        leader = first.setdefault(beginning, number)
        if leader != number and len(beginning) == size:
            found[number] = leader
    return found


def too_much(most: int, per_figure: int) -> failures.Invalid:
    """The prompts that come back are too large, as often as they do."""
    return failures.Invalid(
        f"the prompts that come back, once for each of n, hold more than {most} characters, "
        f"where each log-probability counts as {per_figure}; send fewer prompts at a time, or ask "
        "for a smaller n or fewer logprobs",
        code="invalid_value",
        param="prompt",
    )


def echoed(job: Job, prompt: str | tuple[int, ...], scored: wire.Scored, index: int) -> Echoed:
    """The prompt of a choice as the job asks for it: its text, and its tokens once or twice.

    Of a conversation `prompt` is (), and only its tokens come back.

    The tokens that text shows spell the text, whatever space the vocabulary puts before it.
    """
    hidden = frozenset(scored.hidden)
    raw = [scored.first, *(token.raw for token in scored.tokens)]
    shown = [place for place in range(len(raw)) if place not in hidden]
    spelled = b"".join(raw[place] for place in shown)
    text = prompt if isinstance(prompt, str) else spelled.decode("utf-8", "replace")
    if isinstance(prompt, str) and spelled == b" " + prompt.encode("utf-8", "replace"):
        raw[shown[0]] = raw[shown[0]].removeprefix(b" ")

    def tokens(most: int) -> tuple[PromptToken, ...]:
        if most < 0:
            return ()
        top = scored.top or [()] * len(scored.tokens)
        first = PromptToken(raw[0], None, (), 0 in hidden, scored.first_token)
        rest = (
            PromptToken(
                raw[place], token.logprob, tuple(likely[:most]), place in hidden, token.token
            )
            for place, (token, likely) in enumerate(zip(scored.tokens, top, strict=True), 1)
        )
        return (first, *rest)

    if not job.echo:
        return Echoed(index, "", (), tokens(job.prompt_logprobs))
    return Echoed(index, text, tokens(job.logprobs), tokens(job.prompt_logprobs))


def figures(job: Job, echoed: Echoed) -> int:
    """How many log-probabilities a prompt comes back with, alternatives included."""
    return len(echoed.tokens) * (1 + job.logprobs) + len(echoed.scored) * (1 + job.prompt_logprobs)
