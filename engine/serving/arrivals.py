"""Makes a request of the gateway work of the loop: its tokens are known, nothing is computed.

Says why it cannot be one. Never decides who is admitted. Imported by the worker.
"""

from __future__ import annotations

import functools

from engine.serving import admission, thinking, wire
from engine.serving.admission import Refusal
from engine.serving.constraints.grammars import Unholdable
from engine.serving.constraints.held import Constraints
from engine.serving.generation import Generation, Prompts, Scoring
from engine.serving.llama.vocabulary import Vocabulary
from engine.serving.sequences import Class, Sequence


def sequence(request: wire.Submit | wire.Score, now_us: int) -> Sequence:
    """What the scheduler knows of a request before its prompt is tokenised."""
    return Sequence(
        id=request.id,
        adapter=request.adapter,
        class_=Class(min(max(request.class_, 0), 2)),
        tenant=request.tenant,
        prompt_tokens=0,
        max_tokens=request.max_tokens if isinstance(request, wire.Submit) else 0,
        arrived_us=now_us,
        deadline_us=now_us + request.queue_us,
        request=request.request if isinstance(request, wire.Submit) else 0,
        scope=request.scope,
    )


def work(
    request: wire.Submit | wire.Score,
    sequence: Sequence,
    prompts: Prompts,
    vocabulary: Vocabulary,
    most: int,
    constraints: Constraints,
) -> Generation | Scoring | wire.Scored | Refusal:
    """The work of a sequence, which gets its tokens; of one token there is nothing to score.

    A text with far more than `most` tokens is refused before it is tokenised, since nothing else
    happens meanwhile.
    """
    least = prompts.least(request.prompt, most, vocabulary.least)
    if isinstance(request, wire.Score) and least <= most:
        least += vocabulary.least([(request.continuation, False)], most)
    if least > most:
        return admission.too_long(sequence, least, most, counted=False)
    unknown = prompts.unknown(request.prompt, vocabulary.size)
    if unknown is not None:
        token, place = unknown
        message = f"token {token} is not in the vocabulary of {vocabulary.size} tokens"
        return Refusal(sequence, "bad_token", message, 0, place)
    if isinstance(request, wire.Submit):
        return _generation(request, sequence, prompts, vocabulary, constraints)
    if request.whole:
        return _prompt_scoring(request, sequence, prompts, vocabulary, most)
    return _scoring(request, sequence, prompts, vocabulary)


def _generation(
    request: wire.Submit,
    sequence: Sequence,
    prompts: Prompts,
    vocabulary: Vocabulary,
    constraints: Constraints,
) -> Generation | Refusal:
    size = vocabulary.size
    unknown = [token for token, _ in request.sampling.logit_bias if token >= size]
    if unknown:
        message = f"token {unknown[0]} is not in the vocabulary of {size} tokens"
        return Refusal(sequence, "logit_bias", message, 0)
    try:
        matcher = constraints.matcher(request, _opening(request, vocabulary))
    except Unholdable as error:
        return Refusal(sequence, "constraint", str(error), 0)
    sequence.tokens = prompts.tokens(request.prompt)
    sequence.prompt_tokens = len(sequence.tokens)
    ends = vocabulary.controls
    stops = {ends[stop]: stop for stop in request.stop if stop in ends}
    tallied = functools.partial(prompts.tally, request.prompt)
    made = Generation(sequence, request, sequence.tokens, stops, vocabulary.ends, tallied)
    made.matcher = matcher
    made.shown = vocabulary.within(request.shown)
    made.thinking = thinking.limit(request.thinking, vocabulary.tokenise_marks)
    return made


def _opening(request: wire.Submit, vocabulary: Vocabulary) -> int | None:
    """The token that opens a reasoning, where it is a single one."""
    if request.constraint is None or request.begins is not None or not request.opening:
        return None
    tokens = vocabulary.tokenise_marks(request.opening.strip())
    return tokens[0] if len(tokens) == 1 else None


def _scoring(
    request: wire.Score, sequence: Sequence, prompts: Prompts, vocabulary: Vocabulary
) -> Scoring | Refusal:
    prompt = prompts.tokens(request.prompt)
    continuation = vocabulary.tokenise_continuation(request.continuation)
    if not prompt or not continuation:
        message = "the continuation holds no tokens" if prompt else "the prompt is empty"
        return Refusal(sequence, "empty", message, 0)
    sequence.prompt_tokens = len(prompt) + len(continuation) - 1
    sequence.scored = len(continuation)
    scoring = Scoring(sequence, prompt, continuation)
    sequence.tokens = scoring.tokens
    return scoring


def _prompt_scoring(
    request: wire.Score,
    sequence: Sequence,
    prompts: Prompts,
    vocabulary: Vocabulary,
    most: int,
) -> Scoring | wire.Scored | Refusal:
    prompt = prompts.tokens(request.prompt)
    if not prompt:
        return Refusal(sequence, "empty", "the prompt holds no tokens", 0)
    if len(prompt) + request.room > most:
        return admission.too_long(sequence, len(prompt), most, answered=request.room > 0)
    figures = len(prompt) * (1 + request.alternatives)
    if figures > wire.FIGURES_LIMIT:
        message = (
            f"the {len(prompt)} tokens of the prompt, with {request.alternatives} alternatives "
            f"each, take {figures} log-probabilities, and the limit is {wire.FIGURES_LIMIT}; ask "
            "for fewer logprobs or send a shorter prompt"
        )
        return Refusal(sequence, "too_many_figures", message, 0)
    sequence.prompt_tokens = sequence.scored = len(prompt) - 1
    scoring = Scoring(
        sequence, prompt[:1], prompt[1:], whole=True, alternatives=request.alternatives
    )
    sequence.tokens = scoring.tokens
    return scoring if len(prompt) > 1 else scoring.scored(vocabulary.raw, vocabulary.hides)
