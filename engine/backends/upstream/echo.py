"""Separates a prompt that an upstream returns from the answer that follows it.

vLLM and llama-cpp-python's servers return prompts, llama-server silently does not; so the text has
to begin with the prompt, and the tokens with those that spell it. Pure. Imported by its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.execution import failures
from engine.execution.job import PromptToken, TokenLogprob


class Parts(NamedTuple):
    """The prompt and the answer, each with its tokens if the server returned any."""

    prompt: str
    prompt_tokens: tuple[PromptToken, ...]
    text: str
    logprobs: tuple[TokenLogprob, ...]


def unsupported(what: str) -> failures.Invalid:
    """The upstream does not return prompts as completions do."""
    return failures.Invalid(
        f"the upstream of this release does not return prompts: {what}; leave echo out",
        code="unsupported_parameter",
        param="echo",
    )


def parts(
    prompt: str | tuple[int, ...], text: str, logprobs: Sequence[TokenLogprob], *, answered: bool
) -> Parts:
    """Split a whole answer; unless `answered`, what was generated is dropped.

    Raises:
        failures.Invalid: it does not begin with the prompt.
    """
    if isinstance(prompt, str):
        spelled = prompt
        count = _count(prompt.encode("utf-8", "replace"), logprobs) if logprobs else 0
    else:
        count = len(prompt)
        if len(logprobs) < count and (logprobs or answered):
            raise unsupported("its answer has fewer tokens than the prompt")
        raw = b"".join(token.chosen.raw for token in logprobs[:count])
        spelled = raw.decode("utf-8", "replace") if logprobs else text
    if not text.startswith(spelled):
        raise unsupported("its answer does not begin with the prompt")
    told = tuple(
        PromptToken(token.chosen.raw, token.chosen.logprob if place else None, token.top)
        for place, token in enumerate(logprobs[:count])
    )
    if told and isinstance(prompt, str) and not prompt.encode().startswith(told[0].raw):
        told = (PromptToken(told[0].raw, None, (), hidden=True), *told[1:])  # BOS has a name only
    rest = text[len(spelled) :] if answered else ""
    return Parts(spelled, told, rest, tuple(logprobs[count:]) if answered else ())


def _count(prompt: bytes, logprobs: Sequence[TokenLogprob]) -> int:
    """How many tokens spell a prompt; a BOS before them has a name and no text."""
    at = 0
    for place, token in enumerate(logprobs):
        raw = token.chosen.raw
        if at >= len(prompt):
            return place
        if place == 0 and not prompt.startswith(raw):
            continue
        if not prompt.startswith(raw, at):
            raise unsupported("its tokens do not spell the prompt")
        at += len(raw)
    if at < len(prompt):
        raise unsupported("it has no log-probabilities of the prompt's tokens")
    return len(logprobs)
