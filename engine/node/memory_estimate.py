"""Estimates the memory of an instance of a local deployment, and which settings take less. Pure.

For versions with a dry load the estimate is within a tenth of the real use on a CPU:
process, weights, KV cache and compute buffers, and those of each adapter's context. For versions
that were added before there were dry loads it is a lower bound: weights and KV cache. Imported by
`engine.control`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from storage.model_memory import Memory
from storage.models import ModelVersion
from storage.release_content import KV_CACHE_TYPES, KvCacheType
from storage.releases import Engine


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of one instance. `shared`: all instances map one copy of the weights.

    `other_bytes` are the process itself, its compute buffers and a second copy of the weights where
    the CPU keeps one; 0 where no dry load has measured them.
    """

    weights_bytes: int
    cache_bytes: int
    shared: bool = False
    other_bytes: int = 0

    @property
    def own_bytes(self) -> int:
        """Bytes that instances do not share."""
        return self.cache_bytes + self.other_bytes

    def more_bytes(self, running: int, more: int) -> int:
        """What `more` instances take beside the `running` ones."""
        if more <= 0:
            return 0
        copies = more if not self.shared else int(running == 0)
        return copies * self.weights_bytes + more * self.own_bytes

    def fitting(self, running: int, free_bytes: int, most: int) -> int:
        """How many instances there may be, the running ones included; `most` at most."""
        for more in range(most - running, 0, -1):
            if self.more_bytes(running, more) <= free_bytes:
                return running + more
        return running


def of(weights: ModelVersion, engine: Engine, *, on_gpu: bool, adapters: int = 0) -> Footprint:
    """What an instance with these settings takes, with so many adapters loaded.

    Each adapter has its own context. The KV cache holds, as libllama allocates it,
    `context_tokens` for each of `max_sequences` sequences. On a CPU libllama maps the file, so that
    the instances share its pages.
    """
    contexts = 1 + adapters
    if (memory := weights.memory) is not None:
        cache, compute = _context_bytes(memory, engine)
        repacked = memory.weights_bytes if memory.repacked and not on_gpu else 0
        return Footprint(
            weights_bytes=memory.weights_bytes,
            cache_bytes=contexts * cache,
            shared=not on_gpu,
            other_bytes=contexts * compute + repacked + (0 if on_gpu else memory.process_bytes),
        )
    tokens = _step_tokens(engine) or engine.context_tokens * engine.max_sequences
    return Footprint(
        weights_bytes=weights.size_bytes,
        cache_bytes=contexts * tokens * (weights.kv_bytes_per_token or 0),
        shared=not on_gpu,
    )


def _step_tokens(engine: Engine) -> int:
    """The tokens that a worker of embeddings computes together; 0 for text."""
    return 0 if engine.task == "text" else max(engine.context_tokens, engine.prefill_budget)


def _context_bytes(memory: Memory, engine: Engine) -> tuple[int, int]:
    """KV cache and compute buffers of one context.

    One of embeddings remembers the tokens of a step, and has an output for each: as many sequences
    would have one each.
    """
    if tokens := _step_tokens(engine):
        cache, _ = memory.context_bytes(tokens, 1)
        _, compute = memory.context_bytes(Engine().context_tokens, tokens)
        return cache, compute
    return memory.context_bytes(engine.context_tokens, engine.max_sequences, engine.kv_cache_type)


def smaller(
    weights: ModelVersion, engine: Engine, free_bytes: int, *, on_gpu: bool, adapters: int = 0
) -> Iterator[Engine]:
    """Settings with which one instance would fit, each with one change.

    The most sequences, the most context, and the most exact KV cache that fit.
    """

    def fits(settings: Engine) -> bool:
        taken = of(weights, settings, on_gpu=on_gpu, adapters=adapters)
        return taken.more_bytes(0, 1) <= free_bytes

    for field, least in (("max_sequences", 1), ("context_tokens", 256)):
        value = getattr(engine, field)
        while (value := value // 2) >= least:
            settings = msgspec.structs.replace(engine, **{field: value})
            if fits(settings):
                yield settings
                break
    for kind in _coarser(weights, engine):
        settings = msgspec.structs.replace(engine, kv_cache_type=kind)
        if fits(settings):
            yield settings
            break


def _coarser(weights: ModelVersion, engine: Engine) -> tuple[KvCacheType, ...]:
    """The types of KV cache that are known to be possible and take less, the most exact first."""
    known = frozenset[str]() if weights.memory is None else weights.memory.kv_cache_types
    after = KV_CACHE_TYPES[KV_CACHE_TYPES.index(engine.kv_cache_type) + 1 :]
    return tuple(kind for kind in after if kind in known)
