"""What an answer took, in the object `timings` that llama-server's clients read.

Measured by the gateway: the prompt from its first computation until the first token arrived, the
answer from there until its last token. A backend that does not say when it began, as an upstream,
counts from when it was asked. Imported by the formats of OpenAI's dialects.
"""

from __future__ import annotations

from typing import Final

from engine.execution.answers import Answer

_MS: Final = 1000
_S: Final = 1_000_000


def of(answer: Answer, arrived_us: int) -> dict[str, int | float]:
    """The timings of all choices of an answer together; `arrived_us` is when the request arrived.

    `prompt_n` leaves out the `cache_n` tokens that were in a cache. The first token of a choice
    comes with its prompt, so that the rates of `predicted_n` tokens count the steps after it.
    """
    began_us = arrived_us + min((each.queue_us for each in answer.finishes), default=0)
    first_us = began_us if answer.first_us is None else answer.first_us
    last_us = max((choice.last_us for choice in answer.choices), default=0)
    prompt_us, predicted_us = max(0, first_us - began_us), max(0, last_us - first_us)
    computed = answer.prompt_tokens - answer.cached_tokens
    steps = sum(max(0, choice.tokens - 1) for choice in answer.choices)
    return {
        "cache_n": answer.cached_tokens,
        "prompt_n": computed,
        "prompt_ms": prompt_us / _MS,
        "prompt_per_token_ms": _ratio(prompt_us / _MS, computed),
        "prompt_per_second": _ratio(computed * _S, prompt_us),
        "predicted_n": answer.completion_tokens,
        "predicted_ms": predicted_us / _MS,
        "predicted_per_token_ms": _ratio(predicted_us / _MS, steps),
        "predicted_per_second": _ratio(steps * _S, predicted_us),
    }


def _ratio(amount: float, of: float) -> float:
    return amount / of if of else 0.0
