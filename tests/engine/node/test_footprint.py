"""What an instance takes at least: its weights, and the KV cache of all its sequences."""

from __future__ import annotations

import msgspec

from engine.node import memory_estimate
from engine.node.memory_estimate import Footprint
from storage.models import Kind, ModelVersion, Status
from storage.releases import Engine

VERSION = ModelVersion(
    id=1,
    model="ops",
    version="1.0.0",
    kind=Kind.WEIGHTS,
    base_id=None,
    path="/models/ops.gguf",
    sha256="ab" * 32,
    size_bytes=1000,
    mtime_ns=1,
    architecture="llama",
    parameters=1,
    quantisation="Q8_0",
    context_tokens=8192,
    licence=None,
    status=Status.REGISTERED,
    status_reason=None,
    created_at_us=0,
    created_by="sara",
    kv_bytes_per_token=512,
)


def test_the_kv_cache_is_that_of_every_sequence() -> None:
    """512 bytes a token, 4096 tokens for each of 4 sequences: 8 MiB."""
    engine = Engine(context_tokens=4096, max_sequences=4)
    assert memory_estimate.of(VERSION, engine, on_gpu=True) == Footprint(1000, 8 * 1024 * 1024)


def test_a_version_from_before_the_header_was_read_for_it_has_its_weights() -> None:
    """A lower bound that is known, not a guess."""
    older = msgspec.structs.replace(VERSION, kv_bytes_per_token=None)
    assert memory_estimate.of(older, Engine(), on_gpu=False) == Footprint(1000, 0, shared=True)
