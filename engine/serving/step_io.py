"""What a step writes into a batch, and what it draws out of the logits that come back.

Knows neither the socket nor whose turn it is. Imported by the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.serving import llama, sampling, wire
from engine.serving.generation import Stream
from engine.serving.step_plan import Plan, Row


class Sampled(NamedTuple):
    """What the rows gained, who ended and why, and who cannot go on."""

    deltas: list[wire.Delta]
    ended: list[tuple[Stream, str]]
    broken: list[Stream]


def fill(batch: llama.Batch, plan: Plan, streams: Mapping[int, Stream]) -> list[Row]:
    """Write the plan into the batch; return the rows that draw, in order."""
    if not plan.prefill:
        count = len(plan.rows)
        batch.tokens[:count] = [streams[row.sequence.id].tokens[-1] for row in plan.rows]
        batch.positions[:count] = [row.start for row in plan.rows]
        batch.slots[:count] = [row.sequence.slot for row in plan.rows]
        batch.wanted[:count] = 1
        return list(plan.rows)
    at = 0
    for sequence, start, count, draws in plan.rows:
        end = at + count
        batch.tokens[at:end] = streams[sequence.id].tokens[start : start + count]
        batch.positions[at:end] = np.arange(start, start + count)
        batch.slots[at:end] = sequence.slot
        batch.wanted[at:end] = 0
        batch.wanted[end - 1] = draws
        at = end
    return [row for row in plan.rows if row.draws]


def draw(
    streams: Sequence[Stream], logits: sampling.Floats, vocabulary: llama.Vocabulary
) -> Sampled:
    """Draw a token for every stream from its row of `logits` (B, V)."""
    drawn = Sampled([], [], [])
    if not streams:
        return drawn
    unreal = np.isnan(logits[:, 0])
    if unreal.any():
        drawn.broken.extend(s for s, bad in zip(streams, unreal, strict=True) if bad)
        logits = np.nan_to_num(logits)
    tokens: list[int] = sampling.draw(
        logits,
        sampling.Rows(
            temperature=np.array([s.temperature for s in streams], np.float32),
            top_k=np.array([s.top_k for s in streams], np.int64),
            top_p=np.array([s.top_p for s in streams], np.float32),
            min_p=np.array([s.min_p for s in streams], np.float32),
            seed=np.array([s.seed for s in streams], np.uint64),
            position=np.array([len(s.tokens) for s in streams], np.uint64),
        ),
    ).tolist()
    for place, (stream, token) in enumerate(zip(streams, tokens, strict=True)):
        if stream in drawn.broken:
            continue
        text, reason = _told(stream, token, vocabulary)
        logprobs: tuple[wire.TokenLogprob, ...] = ()
        if stream.logprobs >= 0 and token not in vocabulary.ends:
            logprobs = (_logprob(logits[place], token, stream.logprobs, vocabulary),)
        if reason:
            drawn.ended.append((stream, reason))
        drawn.deltas.append(wire.Delta(stream.sequence.id, text, 1, logprobs))
    return drawn


def _told(stream: Stream, token: int, vocabulary: llama.Vocabulary) -> tuple[str, str]:
    """The text that a token gives, and why the stream ends with it, if it does."""
    stream.tokens.append(token)
    if token in vocabulary.ends:
        return stream.text.flush(), "stop"
    text = stream.text.push(vocabulary.piece(token))
    if stream.text.stopped:
        return text, "stop"
    if stream.sequence.completion_tokens + 1 < stream.sequence.limit:
        return text, ""
    text += stream.text.flush()
    return text, "stop" if stream.text.stopped else "length"


def _logprob(
    logits: sampling.Floats, token: int, top: int, vocabulary: llama.Vocabulary
) -> wire.TokenLogprob:
    found = sampling.likely(logits, token, top)
    raw = vocabulary.raw
    return wire.TokenLogprob(
        wire.Logprob(raw(token), found.chosen),
        tuple(
            wire.Logprob(raw(other), logprob)
            for other, logprob in zip(found.tokens, found.logprobs, strict=True)
        ),
    )
