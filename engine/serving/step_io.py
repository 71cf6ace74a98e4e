"""What a step writes into a batch, and what it reads from the logits that come back.

Knows neither the socket nor whose turn it is. Imported by the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.serving import adjustments, sampling, wire
from engine.serving.constraints.masks import Masks, Matcher
from engine.serving.generation import Generation, Scoring
from engine.serving.llama.context import Batch
from engine.serving.llama.vocabulary import Vocabulary
from engine.serving.step_plan import Plan, Row

Work = Generation | Scoring


class Gained(NamedTuple):
    """What the rows of a step gained.

    `ended` holds the generations that ended, with the reason, and `scored` the scorings that are
    complete; `broken` got logits that are no distribution, `unmatched` cannot go on within their
    constraint.
    """

    deltas: list[wire.Delta]
    ended: list[tuple[Generation, str]]
    scored: list[Scoring]
    broken: list[Work]
    unmatched: list[Generation]


def fill(batch: Batch, plan: Plan, works: Mapping[int, Work]) -> list[tuple[Row, Work]]:
    """Write the plan into the batch; return the rows that give logits, in order."""
    if not plan.prefill:
        rows = [(row, works[row.sequence.id]) for row in plan.rows]
        for at, ((sequence, start, _, _), work) in enumerate(rows):
            batch.tokens[at] = work.tokens[-1]
            batch.positions[at] = start
            batch.slots[at] = sequence.slot
            batch.wanted[at] = 1
        return rows
    at = 0
    for sequence, start, count, outputs in plan.rows:
        end = at + count
        batch.tokens[at:end] = works[sequence.id].tokens[start : start + count]
        batch.positions[at:end] = np.arange(start, start + count)
        batch.slots[at:end] = sequence.slot
        batch.wanted[at:end] = 0
        batch.wanted[end - outputs : end] = 1
        at = end
    return [(row, works[row.sequence.id]) for row in plan.rows if row.outputs]


def matchers(rows: Sequence[tuple[Row, Work]]) -> list[Matcher]:
    """Those of the rows that give logits, in order; their masks are for `read`."""
    return [
        work.matcher
        for _, work in rows
        if isinstance(work, Generation) and work.matcher is not None and work.matcher.active
    ]


def read(
    rows: Sequence[tuple[Row, Work]],
    logits: sampling.Floats | sampling.Best,
    vocabulary: Vocabulary,
    masks: Masks | None = None,
) -> Gained:
    """Sample a token for each generation, and score each scoring; logits (outputs of all, V).

    The best ones are enough where `device_filter.suits` says so.
    """
    gained = Gained([], [], [], [], [])
    if isinstance(logits, sampling.Best):
        plain = [work for _, work in rows if isinstance(work, Generation)]
        picked = sampling.among(logits, _parameters(plain))
        _take(plain, picked.tolist(), logits.logits, {}, vocabulary, gained)
        return gained
    generations: list[Generation] = []
    places: list[int] = []
    at = 0
    for row, work in rows:
        if isinstance(work, Generation):
            generations.append(work)
            places.append(at)
        else:
            _score(work, row, logits[at : at + row.outputs], vocabulary, gained)
        at += row.outputs
    if generations:
        chosen = logits if len(places) == at else logits[places]
        raw = _change(generations, chosen, masks, vocabulary)
        _take(generations, _sample(generations, chosen), chosen, raw, vocabulary, gained)
    return gained


def _score(
    work: Scoring,
    row: Row,
    logits: sampling.Floats,
    vocabulary: Vocabulary,
    gained: Gained,
) -> None:
    end, most = row.start + row.tokens, work.alternatives
    targets = work.targets(end, row.outputs)
    found = [sampling.likely(one, token, most) for one, token in zip(logits, targets, strict=True)]
    logprobs = [each.chosen for each in found]
    if np.isnan(logprobs).any():
        gained.broken.append(work)
        return
    likely = [_alternatives(each, vocabulary) for each in found] if most else []
    work.take(end, logprobs, (logits.argmax(axis=1) == targets).tolist(), likely)
    if end == row.sequence.prompt_tokens:
        gained.scored.append(work)


def _change(
    generations: Sequence[Generation],
    logits: sampling.Floats,
    masks: Masks | None,
    vocabulary: Vocabulary,
) -> Mapping[int, sampling.Floats]:
    """Apply constraints and adjustments in place; copies of changed rows that give logprobs."""
    bound = [(at, g, g.matcher) for at, g in enumerate(generations) if g.matcher is not None]
    bound = [each for each in bound if each[2].active]
    changed = [(at, g.adjustment) for at, g in enumerate(generations) if g.adjustment is not None]
    if not bound and not changed:
        return {}
    places = {at for at, _, _ in bound} | {at for at, _ in changed}
    raw = {at: logits[at].copy() for at in places if generations[at].logprobs >= 0}
    if masks is not None:
        masks.apply(logits, [at for at, _, _ in bound])
        for _, generation, matcher in bound:
            adjustment = generation.adjustment
            if adjustment is not None and len(adjustment.excluded):
                ends = {*vocabulary.ends, *generation.ends}
                if masks.ends_here(matcher, ends):
                    adjustment.end()
    if changed:
        adjustments.apply(logits, changed)
    return raw


def _sample(generations: Sequence[Generation], logits: sampling.Floats) -> list[int]:
    """A token for each row; a few, or greedy ones alone, need no arrays of parameters."""
    if all(generation.temperature <= 0 for generation in generations):
        return sampling.most_likely(logits)
    if len(generations) <= sampling.FEW:
        return [
            sampling.draw(
                row,
                temperature=g.temperature,
                top_k=g.top_k,
                top_p=g.top_p,
                min_p=g.min_p,
                pick=sampling.uniform(g.seed, len(g.tokens)),
            )
            for row, g in zip(logits, generations, strict=True)
        ]
    return list(map(int, sampling.sample(logits, _parameters(generations))))


def _parameters(generations: Sequence[Generation]) -> sampling.Rows:
    return sampling.Rows(
        temperature=np.array([g.temperature for g in generations], np.float32),
        top_k=np.array([g.top_k for g in generations], np.int64),
        top_p=np.array([g.top_p for g in generations], np.float32),
        min_p=np.array([g.min_p for g in generations], np.float32),
        seed=np.array([g.seed for g in generations], np.uint64),
        position=np.array([len(g.tokens) for g in generations], np.uint64),
    )


def _take(
    generations: Sequence[Generation],
    tokens: Sequence[int],
    logits: sampling.Floats,
    raw: Mapping[int, sampling.Floats],
    vocabulary: Vocabulary,
    gained: Gained,
) -> None:
    """Give each generation its sampled token."""
    for place, (generation, token) in enumerate(zip(generations, tokens, strict=True)):
        matcher = generation.matcher
        if token == sampling.UNREAL and not (matcher and matcher.fault):
            gained.broken.append(generation)
            continue
        if generation.thinking is not None:
            token = generation.thinking.next(token)  # noqa: PLW2901
        if matcher is None or not matcher.fault:
            text, reason = _append(generation, token, vocabulary)
        if matcher is not None and matcher.fault:
            gained.unmatched.append(generation)
            continue
        logprobs: tuple[wire.TokenLogprob, ...] = ()
        if generation.logprobs >= 0 and (
            generation.end_logprob or not _ends(generation, token, vocabulary)
        ):
            row = raw.get(place, logits[place])
            logprobs = (_logprob(row, token, generation.logprobs, vocabulary),)
        if reason:
            gained.ended.append((generation, reason))
        sequence = generation.sequence
        if sequence.completion_tokens:
            gained.deltas.append(wire.Delta(sequence.id, text, 1, logprobs))
        else:
            prompt = sequence.prompt_tokens, max(sequence.cached, 0)
            gained.deltas.append(wire.Delta(sequence.id, text, 1, logprobs, *prompt))


def _append(generation: Generation, token: int, vocabulary: Vocabulary) -> tuple[str, str]:
    """The text that a token adds, and why the generation ends with it, or an empty reason."""
    generation.push(token)
    if generation.thinking is not None:
        generation.thinking.push(vocabulary.raw(token))
    if generation.matcher is not None:
        generation.matcher.push(token, vocabulary.raw(token))
    if _ends(generation, token, vocabulary):
        return generation.text.flush(), "stop"
    piece = vocabulary.raw(token) if token in generation.shown else vocabulary.piece(token)
    text = generation.text.push(piece)
    if generation.text.stop:
        return text, "stop"
    if generation.matcher is not None and generation.matcher.complete():
        return text + generation.text.flush(), "stop"
    if generation.sequence.completion_tokens + 1 < generation.sequence.max_tokens:
        return text, ""
    text += generation.text.flush()
    return text, "stop" if generation.text.stop else "length"


def _ends(generation: Generation, token: int, vocabulary: Vocabulary) -> bool:
    return token in vocabulary.ends or token in generation.ends


def _logprob(
    logits: sampling.Floats, token: int, top: int, vocabulary: Vocabulary
) -> wire.TokenLogprob:
    found = sampling.likely(logits, token, top)
    chosen = wire.Logprob(vocabulary.raw(token), found.chosen, token)
    return wire.TokenLogprob(chosen, _alternatives(found, vocabulary))


def _alternatives(found: sampling.Likely, vocabulary: Vocabulary) -> tuple[wire.Logprob, ...]:
    return tuple(
        wire.Logprob(vocabulary.raw(other), logprob, other)
        for other, logprob in zip(found.tokens, found.logprobs, strict=True)
    )
