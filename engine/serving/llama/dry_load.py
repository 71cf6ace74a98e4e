"""What a model's contexts would take, found by loading it without its weights.

libllama reads the metadata and the vocabulary, plans the graph and says how large each buffer would
be, and allocates none of them (`no_alloc`). The sizes come from its log, which is their only
interface. Imported by `python -m engine.serving.dry_load`.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import llama_cpp

from engine.serving import errors
from engine.serving.llama import libllama
from engine.serving.llama.context import KV_CACHE_TYPES, SCORED_MOST, UBATCH

_MIB: Final = 1024 * 1024
_MIB_OF: Final = r"\s*=\s*([0-9.]+) MiB"
_FILE: Final = re.compile(rf"file size\s{_MIB_OF}")
_COMPUTE: Final = re.compile(rf"compute buffer size{_MIB_OF}")
_OUTPUT: Final = re.compile(rf"output buffer size{_MIB_OF}")
_CACHE: Final = re.compile(rf"^llama_(?:kv_cache|memory)[^:]*: size{_MIB_OF}", re.MULTILINE)
_REPACKED: Final = "REPACK model buffer"


class Shape(NamedTuple):
    """The settings of a context that decide what it takes."""

    context_tokens: int
    max_sequences: int
    kv_cache_type: str


class Taken(NamedTuple):
    """Bytes of one context of a shape, for each of its parts."""

    shape: Shape
    cache_bytes: int
    compute_bytes: int


class Weights(NamedTuple):
    """Bytes of the tensors, and whether the CPU keeps a second copy in its own layout."""

    bytes: int
    repacked: bool


def measure(
    paths: Sequence[Path], shapes: Sequence[Shape], *, loaded: Callable[[], None]
) -> tuple[Weights, list[Taken], dict[str, str]]:
    """What a context of each shape takes, and why there is none of a type of KV cache.

    `paths` are the model's file, or its parts in order. Calls `loaded` before the first context.

    Raises:
        ModelBroken: libllama does not load it, or makes no context of it with a plain KV cache.
    """
    lines: list[str] = []

    def hear(_level: int, text: bytes, _user: object) -> None:
        lines.append(text.decode("utf-8", "replace"))

    callback = llama_cpp.llama_log_callback(hear)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    params: Any = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    params.no_alloc = True
    params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
    model: Any = libllama.load(paths, params)
    if not model:
        raise errors.ModelBroken(_reason(lines))
    log = "".join(lines)
    weights = Weights(_sum(_FILE, log), _REPACKED in log)
    loaded()
    found: list[Taken] = []
    impossible: dict[str, str] = {}
    for shape in shapes:
        if shape.kv_cache_type in impossible:
            continue
        lines.clear()
        context = llama_cpp.llama_init_from_model(model, _context(shape))
        if not context and shape.kv_cache_type == "f16":
            raise errors.ModelBroken(_reason(lines))
        if not context:
            impossible[shape.kv_cache_type] = _reason(lines)
            continue
        log = "".join(lines)
        compute = _sum(_COMPUTE, log) + _sum(_OUTPUT, log)
        found.append(Taken(shape, _sum(_CACHE, log), compute))
        llama_cpp.llama_free(context)
    return weights, found, impossible


def _context(shape: Shape) -> Any:
    """The parameters that `engine.serving.llama.context` uses."""
    params: Any = llama_cpp.llama_context_default_params()
    params.n_ctx = shape.context_tokens * shape.max_sequences
    params.n_seq_max = shape.max_sequences
    params.n_batch = params.n_ctx
    params.n_ubatch = min(UBATCH, params.n_batch)
    params.n_outputs_max = shape.max_sequences + SCORED_MOST
    params.kv_unified = False
    params.type_k = params.type_v = KV_CACHE_TYPES[shape.kv_cache_type]
    return params


def _reason(lines: Sequence[str]) -> str:
    return "".join(lines[-2:]).strip() or "libllama gave no reason"


def _sum(pattern: re.Pattern[str], log: str) -> int:
    return int(sum(float(found) for found in pattern.findall(log)) * _MIB)
