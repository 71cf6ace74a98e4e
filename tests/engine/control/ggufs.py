"""Tiny GGUF files: their headers are sound, and no model is in them."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np


def made(path: Path, **changes: object) -> Path:
    """A tiny GGUF; `changes` are metadata that is added, or None to leave one out."""
    return of_architecture("llama", path, **changes)


def of_architecture(architecture: str, path: Path, **changes: object) -> Path:
    """The same of another architecture."""
    writer = gguf.GGUFWriter(path, architecture)
    facts: dict[str, object] = {
        f"{architecture}.context_length": 64,
        "general.license": "mit",
        **changes,
    }
    for name, value in facts.items():
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint64(name, value) if value >> 32 else writer.add_uint32(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
    writer.add_array("tokenizer.ggml.token_type", [1, 1, 3])
    writer.add_tensor("token_embd.weight", np.ones((3, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
