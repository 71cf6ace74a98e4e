"""GGUF files of a given shape, with random weights: for what a load takes, not what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a Llama, and how its matrices are stored."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    stored: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F16


def write(path: Path, shape: Shape) -> Path:
    """A byte-level BPE model whose further tokens are never met in text."""
    random = np.random.default_rng(7)
    file = gguf.GGUFWriter(path, "llama")
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    letters = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + n) for n in range(68)]
    tokens = [*letters, *(f"<{n}>" for n in range(shape.vocabulary - len(letters)))]
    file.add_token_list(tokens[: shape.vocabulary])
    file.add_token_types([int(gguf.TokenType.NORMAL)] * shape.vocabulary)
    file.add_token_merges(["a b"])
    file.add_eos_token_id(0)
    file.add_add_bos_token(value=False)
    file.add_block_count(shape.layers)
    file.add_context_length(32_768)
    file.add_embedding_length(shape.width)
    file.add_feed_forward_length(shape.feed_forward)
    file.add_head_count(shape.heads)
    file.add_head_count_kv(shape.kv_heads)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(shape.width // shape.heads)
    file.add_vocab_size(shape.vocabulary)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = random.standard_normal((rows, columns), dtype=np.float32) * 0.02
        if shape.stored is gguf.GGMLQuantizationType.F16:
            file.add_tensor(name, values.astype(np.float16))
            return
        packed = gguf.quants.quantize(values, shape.stored)
        file.add_tensor(name, packed, raw_dtype=shape.stored)

    def norm(name: str) -> None:
        file.add_tensor(name, np.ones(shape.width, np.float32))

    kv_width = shape.width // shape.heads * shape.kv_heads
    matrix("token_embd.weight", shape.vocabulary, shape.width)
    norm("output_norm.weight")
    for layer in range(shape.layers):
        at = f"blk.{layer}."
        norm(f"{at}attn_norm.weight")
        norm(f"{at}ffn_norm.weight")
        for name, rows, columns in (
            ("attn_q", shape.width, shape.width),
            ("attn_k", kv_width, shape.width),
            ("attn_v", kv_width, shape.width),
            ("attn_output", shape.width, shape.width),
            ("ffn_gate", shape.feed_forward, shape.width),
            ("ffn_up", shape.feed_forward, shape.width),
            ("ffn_down", shape.width, shape.feed_forward),
        ):
            matrix(f"{at}{name}.weight", rows, columns)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path
