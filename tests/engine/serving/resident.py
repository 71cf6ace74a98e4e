"""Loads a model as a worker does, computes a full batch, and prints the resident memory in bytes.

`python -m tests.engine.serving.resident FILE CONTEXT_TOKENS MAX_SEQUENCES`, in its own process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

from engine.serving.adapters import Adapters
from engine.serving.llama.context import UBATCH
from engine.serving.llama.model import Model

if __name__ == "__main__":
    path, tokens, sequences = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    model = Model(path, gpu_layers=0)
    adapters = Adapters(model, sequence_tokens=tokens, sequences=sequences, threads=2)
    adapters.prove()
    context, count = adapters.base, min(UBATCH, tokens)
    context.batch.tokens[:count] = 1
    context.batch.positions[:count] = range(count)
    context.batch.slots[:count] = 0
    context.batch.wanted[:count] = 0
    context.batch.wanted[count - 1] = 1
    context.decode(count, 1)
    print(psutil.Process().memory_info().rss, flush=True)  # noqa: T201
    os._exit(0)
