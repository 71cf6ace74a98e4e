"""The same work without a server: a bare `llama_decode` loop that draws by argmax.

`python -m tests.bench.raw_loop` reads jobs as JSON from standard input and writes a figure for
each. A job's sequences start and end together, prompts are computed in the largest batches that
fit, nothing is detokenised, scheduled or sent: what a server reaches of it is the server's
efficiency. Its own process, because libllama is in it. Started by the bench.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from engine.serving.cores import cores
from engine.serving.llama.context import Context
from engine.serving.llama.model import Model


class Job(msgspec.Struct, frozen=True):
    """Rounds of prompts; those of a round are computed together, each to `max_tokens` more."""

    rounds: list[list[str]]
    max_tokens: int


class Done(msgspec.Struct, frozen=True):
    """What a job took: prompts and tokens together, and the decoding steps alone."""

    tokens: int
    wall_ns: int
    decoded: int
    steps_ns: list[int]


def run(model: Model, context: Context, job: Job) -> Done:
    """All rounds of a job, one after another."""
    rounds = [
        [model.vocabulary.tokenise([(prompt, False)]) for prompt in prompts]
        for prompts in job.rounds
    ]
    tokens = decoded = 0
    steps: list[int] = []
    began = time.monotonic_ns()
    for prompts in rounds:
        count = len(prompts)
        drawn = np.empty(count, np.int32)
        for first, last in _batches([len(prompt) for prompt in prompts], context.room):
            drawn[first:last] = _prefill(context, prompts[first:last], first)
        batch = context.batch
        batch.slots[:count] = np.arange(count)
        batch.wanted[:count] = 1
        at = np.array([len(prompt) for prompt in prompts], np.int32)
        for _ in range(job.max_tokens - 1):
            before = time.monotonic_ns()
            batch.tokens[:count] = drawn
            batch.positions[:count] = at
            drawn = context.decode(count, count).argmax(axis=1).astype(np.int32)
            at += 1
            steps.append(time.monotonic_ns() - before)
        tokens += count * job.max_tokens
        decoded += count * (job.max_tokens - 1)
        for slot in range(count):
            context.clear(slot)
    return Done(tokens, time.monotonic_ns() - began, decoded, steps)


def _batches(lengths: list[int], room: int) -> Iterator[tuple[int, int]]:
    first = filled = 0
    for place, length in enumerate(lengths):
        if filled + length > room:
            yield first, place
            first, filled = place, 0
        filled += length
    yield first, len(lengths)


def _prefill(context: Context, prompts: list[list[int]], slot: int) -> npt.NDArray[np.int32]:
    batch = context.batch
    end = 0
    for number, prompt in enumerate(prompts):
        start, end = end, end + len(prompt)
        batch.tokens[start:end] = prompt
        batch.positions[start:end] = np.arange(len(prompt))
        batch.slots[start:end] = slot + number
        batch.wanted[start:end] = 0
        batch.wanted[end - 1] = 1
    return np.asarray(context.decode(end, len(prompts)).argmax(axis=1), np.int32)


def main() -> None:
    """Load once, warm up, then do what comes on standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sequences", type=int, required=True)
    parser.add_argument("--context-tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gpu-layers", type=int, required=True)
    asked = parser.parse_args()
    model = Model(asked.model, gpu_layers=asked.gpu_layers)
    context = Context(
        model,
        sequence_tokens=asked.context_tokens,
        sequences=asked.sequences,
        threads=asked.threads or cores(),
    )
    for line in sys.stdin:
        job = msgspec.json.decode(line, type=Job)
        run(model, context, Job(job.rounds[:1], min(job.max_tokens, 16)))
        print(msgspec.json.encode(run(model, context, job)).decode(), flush=True)


if __name__ == "__main__":
    main()
