"""GGUF headers of all kinds of files: read where they hold, a sentence where they do not."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.registry import adapter_fit, gguf_header
from storage.models import Kind
from tests.engine.control.ggufs import made
from tests.home_fixtures import ADAPTER, WEIGHTS


def test_the_shipped_weights_say_what_they_are() -> None:
    """Architecture, size, quantisation, context and licence."""
    header = gguf_header.read(WEIGHTS)
    assert (header.kind, header.architecture) == (Kind.WEIGHTS, "llama")
    assert (header.quantisation, header.licence) == ("Q8_0", "apache-2.0")
    assert header.parameters > 1_000_000
    assert header.context_tokens >= 1024
    assert header.kv_bytes_per_token == 4 * 2 * (64 + 64) * 2  # layers, KV heads, lengths, f16


def test_the_shipped_adapter_is_one() -> None:
    """By its general.type, not by its name."""
    header = gguf_header.read(ADAPTER)
    assert (header.kind, header.architecture) == (Kind.ADAPTER, "llama")
    assert header.quantisation == "F16"


def test_a_tiny_file_is_read(tmp_path: Path) -> None:
    """96 weights of 32 bits; it names no mixture, so the type of its tensors is shown."""
    header = gguf_header.read(made(tmp_path / "m.gguf"))
    assert (header.parameters, header.context_tokens, header.licence) == (96, 64, "mit")
    assert header.quantisation == "F32"


_SHAPE: Final = {
    "llama.block_count": 3,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
}


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, None),
        (_SHAPE, 3 * 4 * (16 + 16) * 2),
        ({**_SHAPE, "llama.attention.head_count_kv": 2}, 3 * 2 * (16 + 16) * 2),
        ({**_SHAPE, "llama.attention.head_count_kv": [2, 0, 1]}, 3 * (16 + 16) * 2),
        (
            {
                **_SHAPE,
                "llama.attention.key_length": 24,
                "llama.attention.value_length": 8,
            },
            3 * 4 * (24 + 8) * 2,
        ),
        ({**_SHAPE, "llama.attention.head_count_kv": [2, 0]}, None),
        ({**_SHAPE, "llama.attention.head_count": 0}, None),
        ({**_SHAPE, "llama.attention.kv_lora_rank": 512}, None),
        ({**_SHAPE, "llama.block_count": 2**31}, None),
        ({**_SHAPE, "llama.embedding_length": "wide"}, None),
    ],
)
def test_the_size_of_a_token_in_the_kv_cache_follows_from_layers_and_heads(
    tmp_path: Path, changes: dict[str, object], size: int | None
) -> None:
    """As libllama allocates it; what cannot be relied on is not known."""
    assert gguf_header.read(made(tmp_path / "m.gguf", **changes)).kv_bytes_per_token == size


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"llama.context_length": None}, "its context length"),
        ({"general.type": "adapter", "adapter.type": "ia3"}, "not lora"),
        ({"split.count": 3}, "one of 3 parts of a split model"),
        ({"split.count": [1, 2]}, "split.count is invalid"),
        ({"llama.context_length": "many"}, "context_length is invalid"),
        ({"llama.context_length": float("inf")}, "context_length is invalid"),
        ({"llama.context_length": float("nan")}, "context_length is invalid"),
        ({"llama.context_length": [64]}, "context_length is invalid"),
        ({"llama.context_length": True}, "context_length is invalid"),
        ({"llama.context_length": 2**64 - 1}, "context_length is invalid"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """A sentence for each."""
    with pytest.raises(gguf_header.Broken, match=said):
        gguf_header.read(made(tmp_path / "m.gguf", **changes))


def test_words_of_a_file_are_kept_in_bounds(tmp_path: Path) -> None:
    """A licence of megabytes is cut; a mixture that is no number is passed over."""
    changes = {"general.license": "L" * 100_000, "general.file_type": float("inf")}
    header = gguf_header.read(made(tmp_path / "m.gguf", **changes))
    assert header.licence == "L" * 2000
    assert header.quantisation == "F32"


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    """Wherever the file ends."""
    whole = made(tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(len(whole) - 32):  # the last bytes may be padding
        cut.write_bytes(whole[:length])
        with pytest.raises(gguf_header.Broken):
            gguf_header.read(cut)


@pytest.mark.parametrize(
    "body",
    [
        b"GGUF" + struct.pack("<IQQ", 3, 1, 2**63),
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 2**62),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q1sIIQ", 1, b"k", 9, 4, 2**60),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q1sIIQ", 1, b"k", 9, 9, 1),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q1sI", 1, b"t", 2**31),
        b"GGUF"
        + struct.pack("<IQQ", 3, 1, 0)
        + struct.pack("<Q1sI2QIQ", 1, b"t", 2, 9**9, 9**9, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q1sIQIQ", 1, b"t", 1, 8, 0, 2**63),
        b"GGUF" + struct.pack("<I", 1),
        b"GGUF" + struct.pack(">I", 3),
        b"",
        b"PK\x03\x04",
    ],
)
def test_hostile_counts_cost_neither_time_nor_memory(tmp_path: Path, body: bytes) -> None:
    """No number in a header is believed."""
    path = tmp_path / "m.gguf"
    path.write_bytes(body + bytes(4096))
    with pytest.raises(gguf_header.Broken):
        gguf_header.read(path)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_ends_in_a_header_or_a_sentence(
    tmp_path: Path, damage: list[tuple[int, int]]
) -> None:
    """Never in another exception, a hang or a crash."""
    body = bytearray(made(tmp_path / "m.gguf").read_bytes())
    for at, value in damage:
        body[at % len(body)] = value
    path = tmp_path / "damaged.gguf"
    path.write_bytes(body)
    try:
        assert gguf_header.read(path).parameters >= 0
    except gguf_header.Broken as broken:
        assert str(broken)  # noqa: PT017 either is fine


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ({"w.lora_a": (8, 2), "w.lora_b": (2, 16)}, ""),
        ({"w.lora_a": (9, 2)}, "it changes w with 9 inputs, where there are 8"),
        (
            {"w.lora_a": (8, 2), "w.lora_b": (2, 4)},
            "it changes w with 4 outputs, where there are 16",
        ),
        ({"x.lora_a": (8, 2)}, "it changes x, which is not there"),
        ({"w.lora_b": (2,)}, "it changes w with no outputs, where there are 16"),
    ],
)
def test_an_adapter_of_other_weights_is_told_by_its_tensors(
    adapter: dict[str, tuple[int, ...]], said: str
) -> None:
    """The first one that differs is named, with both numbers."""
    assert adapter_fit.misfit(adapter, {"w": (8, 16)}) == said


@pytest.mark.parametrize(
    ("changes", "task", "pooling"),
    [
        ({}, "text", None),
        ({"llama.pooling_type": 3}, "embedding", "last"),
        ({"llama.pooling_type": 1, "llama.attention.causal": False}, "embedding", "mean"),
        ({"llama.attention.causal": False}, "embedding", None),
        ({"llama.pooling_type": 4}, "reranking", "rank"),
        ({"llama.pooling_type": 77}, "text", None),
        ({"llama.pooling_type": "last"}, "text", None),
    ],
)
def test_a_file_says_what_it_is_made_for(
    tmp_path: Path, changes: dict[str, object], task: str, pooling: str | None
) -> None:
    """By how it pools, and whether its tokens see those that follow."""
    header = gguf_header.read(made(tmp_path / "m.gguf", **changes))
    assert (header.task, header.pooling) == (task, pooling)
