"""What loading a version takes, as a dry load measured it for a few settings; others lie between.

Kept with the version, shown by `models show`, and held against the memory that is free. Pure.
Imported by `storage.models` and `engine.node.memory_estimate`.
"""

from __future__ import annotations

import functools

import msgspec


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one context with these settings: its KV cache, and its compute buffers."""

    context_tokens: int
    max_sequences: int
    kv_cache_type: str = "f16"
    cache_bytes: int
    compute_bytes: int


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the tensors, of a process without them, and of contexts on a grid of settings.

    `repacked`: on a CPU there is a second copy of the weights, in a layout that computes faster.
    `impossible` has libllama's reason for each type of KV cache that the model cannot have.
    """

    weights_bytes: int
    repacked: bool
    process_bytes: int
    points: tuple[Point, ...]
    impossible: dict[str, str] = {}

    @property
    def kv_cache_types(self) -> frozenset[str]:
        """The types of KV cache that were measured."""
        return frozenset(each.kv_cache_type for each in self.points)

    def context_bytes(
        self, context_tokens: int, max_sequences: int, kv_cache_type: str = "f16"
    ) -> tuple[int, int]:
        """KV cache and compute buffers of one context; bilinear between and beyond the points.

        Both grow linearly with the tokens of a sequence and with the sequences, the cache with
        their product. A type that was not measured counts as f16, which takes more.
        """
        kind = kv_cache_type if kv_cache_type in self.kv_cache_types else "f16"
        points = [each for each in self.points if each.kv_cache_type == kind]
        known = {(each.context_tokens, each.max_sequences): each for each in points}
        tokens = sorted({each.context_tokens for each in points})
        sequences = sorted({each.max_sequences for each in points})
        along = _share(context_tokens, tokens[0], tokens[-1])
        across = _share(max_sequences, sequences[0], sequences[-1])
        cache = compute = 0.0
        for token, token_share in ((tokens[0], 1 - along), (tokens[-1], along)):
            for sequence, share in ((sequences[0], 1 - across), (sequences[-1], across)):
                point = known[token, sequence]
                cache += point.cache_bytes * token_share * share
                compute += point.compute_bytes * token_share * share
        return max(0, round(cache)), max(0, round(compute))


def encode(memory: Memory | None) -> str | None:
    """As the store keeps it."""
    return None if memory is None else msgspec.json.encode(memory).decode()


@functools.lru_cache(maxsize=4096)
def decode(kept: str | None) -> Memory | None:
    """From what the store keeps."""
    return None if kept is None else msgspec.json.decode(kept, type=Memory)


def _share(value: int, low: int, high: int) -> float:
    return 0.0 if high == low else (value - low) / (high - low)
