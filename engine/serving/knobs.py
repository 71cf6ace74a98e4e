"""The live knobs of a worker: names, ranges, values in force.

Knows no policy. Imports the standard library only. Imported by the scheduler, the worker, and the
backends that set knobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

from engine.serving.sequences import Class

RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "max_running": (1, 256),
    "prefill_budget": (16, 8192),
    "max_tokens_cap": (1, 131_072),
    "queue_limit": (0, 10_000),
    "queue_tokens_limit": (0, 100_000_000),
    "weight_interactive": (1, 1000),
    "weight_batch": (1, 1000),
    "weight_background": (1, 1000),
    "prefix_cache": (0, 1),
    "prefill_ms": (0, 10_000),
    "prefill_every": (1, 1000),
    "backend_sampling": (0, 2),
}


@dataclass(frozen=True, slots=True)
class Knobs:
    """Values in force.

    `queue_limit` (requests) and `queue_tokens_limit` (prompt tokens) bound the queue beyond the
    free slots. The weights of interactive and batch set how fast each gains priority over the other
    while it waits, within a tenant, and how much of a tenant's share its time costs; background's,
    relative to theirs, sets the share of time that it may take. `prefix_cache` 0 computes every
    prompt from its first token. A step with prompts takes about `prefill_ms` milliseconds at most;
    while its cost is not known, and with 0, it holds at most `prefill_budget` prompt tokens. Beside
    running streams, prompts may wait until `prefill_every` steps after the last such step, for a
    second at most; with 1 they never do. `backend_sampling` 0 brings all logits to the host, 2 only
    the best where that is enough, and 1 whichever was measured to be faster.
    """

    max_running: int = 16
    prefill_budget: int = 256
    max_tokens_cap: int = 131_072
    queue_limit: int = 256
    queue_tokens_limit: int = 262_144
    weight_interactive: int = 100
    weight_batch: int = 30
    weight_background: int = 10
    prefix_cache: int = 1
    prefill_ms: int = 180
    prefill_every: int = 32
    backend_sampling: int = 1

    def changed(self, values: Mapping[str, int]) -> Knobs:
        """A copy with some knobs changed, clamped to their ranges; unknown names are ignored."""
        known = {
            name: min(max(int(value), RANGES[name][0]), RANGES[name][1])
            for name, value in values.items()
            if name in RANGES
        }
        return replace(self, **known)

    def weight(self, class_: Class) -> int:
        """The weight of a class."""
        return (self.weight_interactive, self.weight_batch, self.weight_background)[class_]

    def values(self) -> dict[str, int]:
        """By name, as the wire carries them."""
        return asdict(self)
