"""`python -m engine.serving.dry_load FILE...`: what loading a model would take, as a line of JSON.

A process of its own, as libllama may abort on a file. Allocates neither weights nor caches. Started
by the job that adds a model.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import psutil

# The worker is imported for its size: `process_bytes` is what its process takes before it loads.
from engine.serving import errors, worker  # noqa: F401
from engine.serving.llama import dry_load
from engine.serving.llama.context import KV_CACHE_TYPES
from engine.serving.llama.dry_load import Shape, Taken
from storage.runtime import parent
from storage.runtime.reporting import Reports

_TOKENS: Final = (1024, 8192)
_SEQUENCES: Final = (1, 16)


def main() -> int:
    """Measure a grid of settings, from which `engine.node.memory_estimate` interpolates."""
    parent.hold()
    reports = Reports.take_stdout()
    shapes = [
        Shape(tokens, sequences, kind)
        for kind in KV_CACHE_TYPES
        for tokens in _TOKENS
        for sequences in _SEQUENCES
    ]
    process_bytes = 0

    def loaded() -> None:
        nonlocal process_bytes
        process_bytes = psutil.Process().memory_info().rss

    try:
        paths = [Path(each) for each in sys.argv[1:]]
        weights, sizes, impossible = dry_load.measure(paths, shapes, loaded=loaded)
    except errors.EngineFault as fault:
        reports.say(failed=str(fault))
        return 1
    reports.say(
        weights_bytes=weights.bytes,
        repacked=weights.repacked,
        process_bytes=process_bytes,
        points=[_point(each) for each in sizes],
        impossible=impossible,
    )
    return 0


def _point(taken: Taken) -> dict[str, object]:
    return {
        **taken.shape._asdict(),
        "cache_bytes": taken.cache_bytes,
        "compute_bytes": taken.compute_bytes,
    }


if __name__ == "__main__":
    sys.exit(main())
