"""How much memory an instance of a local deployment takes at least. Pure.

A lower bound: weights and KV cache. Compute buffers (a few hundred megabytes for common models) and
the contexts of adapters come on top. Imported by `engine.control`.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.models import ModelVersion
from storage.releases import Engine


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of one instance. `shared`: all instances map one copy of the weights."""

    weights_bytes: int
    cache_bytes: int
    shared: bool = False

    def more_bytes(self, running: int, more: int) -> int:
        """What `more` instances take beside the `running` ones."""
        if more <= 0:
            return 0
        copies = more if not self.shared else int(running == 0)
        return copies * self.weights_bytes + more * self.cache_bytes

    def fitting(self, running: int, free_bytes: int, most: int) -> int:
        """How many instances there may be, the running ones included; `most` at most."""
        for more in range(most - running, 0, -1):
            if self.more_bytes(running, more) <= free_bytes:
                return running + more
        return running


def of(weights: ModelVersion, engine: Engine, *, on_gpu: bool) -> Footprint:
    """What an instance with these settings takes.

    The KV cache holds, as libllama allocates it, `context_tokens` for each of `max_sequences`
    sequences; a token takes `kv_bytes_per_token` (see `engine.registry.gguf_header`). It counts as
    nothing for versions that were added before the header was read for it. On a CPU libllama maps
    the file, so that the instances share its pages.
    """
    tokens = engine.context_tokens * engine.max_sequences
    return Footprint(
        weights_bytes=weights.size_bytes,
        cache_bytes=tokens * (weights.kv_bytes_per_token or 0),
        shared=not on_gpu,
    )
