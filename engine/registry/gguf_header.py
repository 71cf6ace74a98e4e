"""Facts from the header of an untrusted GGUF file.

`gguf_walk` checks every count against the size of the file before the library reads the values: a
truncated, damaged or hostile file raises `Broken`. Reads no weights. Imported by `engine.jobs` and
`gguf_split`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf

from engine.registry import gguf_walk
from engine.registry.chat_template import Source
from engine.registry.gguf_walk import Broken
from storage.model_checks import Task
from storage.models import Kind

__all__ = ["Broken", "Header", "Scanned", "header", "read", "scan", "whole"]

_WORD: Final = 64
_LINE: Final = 2000
_WHOLE: Final = 2**31 - 1
_LAYERS: Final = 10_000
_HEADS: Final = 65_536
_F16: Final = 2
_ATTENTION: Final = tuple(
    f".attention.{name}"
    for name in (
        "head_count", "head_count_kv", "key_length", "value_length", "kv_lora_rank",
        "shared_kv_layers",
    )
)  # fmt: skip


_ENCODERS: Final = frozenset({
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2",
    "jina-bert-v3", "eurobert", "gemma-embedding", "llama-embed", "t5encoder",
})  # fmt: skip
_OTHERS: Final[Mapping[str, str]] = {
    "t5": "is an encoder-decoder model",
    "clip": "is the image encoder of a multimodal model",
    "mmproj": "is the image encoder of a multimodal model",
    "wavtokenizer-dec": "decodes audio",
    "dream": "generates by diffusion",
    "llada": "generates by diffusion",
    "llada-moe": "generates by diffusion",
}


@dataclass(frozen=True, slots=True)
class Header:
    """The facts in a GGUF header; `no_text` is why it cannot generate text, empty if it can.

    `task` is what it is made for, None for what Paddock does not serve, `pooling` how it says that
    the vectors of tokens are made one, `width` their length; None where it does not say.
    `kv_bytes_per_token` is None where the header does not say how keys and values are cached.
    """

    kind: Kind
    architecture: str
    parameters: int
    quantisation: str
    context_tokens: int
    licence: str | None
    no_text: str
    task: Task | None
    pooling: str | None
    width: int | None
    chat: Source
    kv_bytes_per_token: int | None


@dataclass(frozen=True, slots=True)
class Scanned:
    """One file: its metadata, its weights by type, the dimensions of its tensors."""

    values: dict[str, Any]
    weights: Counter[str]
    shapes: Mapping[str, tuple[int, ...]]


def read(path: Path) -> Header:
    """The header of a model in one file.

    Raises:
        Broken: it has none, or one that contradicts the file. OSError: it cannot be read.
    """
    scanned = scan(path)
    if (count := whole(scanned.values, "split.count")) > 1:
        raise Broken(
            f"it is one of {count} parts of a split model, and its name does not say which; "
            f"name them NAME-00001-of-{count:05d}.gguf and so on, in one directory"
        )
    return header(scanned.values, scanned.weights)


def scan(path: Path, *, empty: bool = False) -> Scanned:
    """Read one file; `empty`: it may have no tensors.

    Raises:
        Broken: it has no header, or one that contradicts the file. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        walk = gguf_walk.Walk(file, size)
        weights = walk.tensors(empty=empty)
    try:
        values = _values(path)
    except Exception as error:
        raise Broken(f"its metadata cannot be read: {error}") from error
    return Scanned(values, weights, walk.shapes)


def _values(path: Path) -> dict[str, Any]:
    wanted = ("general.", "adapter.", "split.")
    endings = (
        *(".context_length", ".block_count", ".embedding_length"),
        *(".attention.causal", ".chat_template", ".pooling_type", "_token_id"),
        *_ATTENTION,
    )
    reader = gguf.GGUFReader(path)
    values = {
        name: field.contents()
        for name, field in reader.fields.items()
        if name.startswith(wanted) or name.endswith(endings)
    }
    tokens = reader.fields.get("tokenizer.ggml.tokens")
    for token in ("bos", "eos"):
        id = values.get(f"tokenizer.ggml.{token}_token_id")
        if tokens is not None and isinstance(id, int) and 0 <= id < len(tokens.data):
            values[token] = tokens.contents(id)
    return values


def header(values: dict[str, Any], weights: Counter[str]) -> Header:
    """The facts of a model with this metadata and so many weights of each type.

    Raises:
        Broken: it lacks what every model says.
    """
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise Broken("it does not name its architecture")
    if len(architecture) > _WORD:
        raise Broken(f"it names an architecture of {len(architecture)} characters")
    adapter = values.get("general.type") == "adapter"
    if adapter and values.get("adapter.type") != "lora":
        raise Broken(
            f"it is an adapter of type {str(values.get('adapter.type'))[:_WORD]!r}, not lora"
        )
    context = whole(values, f"{architecture}.context_length")
    if not adapter and context <= 0:
        raise Broken("it does not say its context length")
    licence = values.get("general.license")
    return Header(
        kind=Kind.ADAPTER if adapter else Kind.WEIGHTS,
        architecture=architecture,
        parameters=weights.total(),
        quantisation=_quantisation(values.get("general.file_type"))
        or (weights.most_common(1)[0][0] if weights else ""),
        context_tokens=context,
        licence=licence[:_LINE] if isinstance(licence, str) and licence else None,
        no_text=_no_text(architecture, values),
        task=None if adapter else _task(architecture, values),
        pooling=None if adapter else _pooling(architecture, values),
        width=_width(values.get(f"{architecture}.embedding_length")),
        chat=Source(
            template=_text(values.get("tokenizer.chat_template")),
            bos=_text(values.get("bos")) or "",
            eos=_text(values.get("eos")) or "",
        ),
        kv_bytes_per_token=_kv_bytes_per_token(architecture, values),
    )


def _kv_bytes_per_token(architecture: str, values: dict[str, Any]) -> int | None:
    """What one token takes in the KV cache, over all layers; None if the header does not say.

    2 bytes (f16) x sum over layers of KV heads x (key length + value length), as libllama's
    `llama_kv_cache` allocates it: a head's length is `embedding_length / head_count` where
    `key_length` and `value_length` are missing, `head_count_kv` is `head_count` where it is
    missing, and a list has one number per layer. Multi-head latent attention and layers that share
    their cache are stored otherwise.
    """

    def said(name: str) -> Any:
        return values.get(f"{architecture}.{name}")

    if said("attention.kv_lora_rank") or said("attention.shared_kv_layers"):
        return None
    layers, heads = said("block_count"), said("attention.head_count")
    if type(layers) is not int or not 0 < layers <= _LAYERS:
        return None
    queries = _per_layer(heads, layers)
    keys = queries if (kv := said("attention.head_count_kv")) is None else _per_layer(kv, layers)
    if queries is None or keys is None or not max(queries):
        return None
    width = said("embedding_length")
    whole = width // max(queries) if type(width) is int else None
    length = 0
    for name in ("key", "value"):
        each = said(f"attention.{name}_length") or whole
        if type(each) is not int or not 0 < each <= _WHOLE:
            return None
        length += each
    size = _F16 * sum(keys) * length
    return size if size <= _WHOLE else None


def _per_layer(value: Any, layers: int) -> list[int] | None:
    """One count for each layer, from one for all or from a list."""
    counts = value if isinstance(value, list) else [value] * layers
    if len(counts) != layers or any(type(n) is not int or not 0 <= n <= _HEADS for n in counts):
        return None
    return counts


def _no_text(architecture: str, values: dict[str, Any]) -> str:
    """Why a model of this architecture cannot generate text token by token."""
    if architecture in _ENCODERS or values.get(f"{architecture}.attention.causal") is False:
        return f"{architecture} is an encoder: it makes embeddings and cannot generate text"
    if (what := _OTHERS.get(architecture)) is not None:
        return f"{architecture} {what}, which Paddock cannot serve as text"
    return ""


def _task(architecture: str, values: dict[str, Any]) -> Task | None:
    """What a model is made for: how its vectors are pooled tells, or that it attends both ways."""
    if architecture in _OTHERS:
        return None
    pooling = _pooling(architecture, values)
    if pooling == "rank":
        return "reranking"
    if pooling in {"mean", "cls", "last"} or _no_text(architecture, values):
        return "embedding"
    return "text"


def _width(value: Any) -> int | None:
    return value if type(value) is int and 0 < value <= _WHOLE else None


def _pooling(architecture: str, values: dict[str, Any]) -> str | None:
    """By the name that llama.cpp's `--pooling` has for it."""
    try:
        return str(gguf.PoolingType(values.get(f"{architecture}.pooling_type")).name).lower()
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def whole(values: dict[str, Any], name: str) -> int:
    """A count in the file; 0 if it is absent.

    Raises:
        Broken: it is no count.
    """
    value = values.get(name, 0)
    if type(value) is not int or not 0 <= value <= _WHOLE:
        raise Broken(f"its {name[:_WORD]} is invalid: {str(value)[:_WORD]!r}")
    return value


def _quantisation(file_type: Any) -> str:
    """The file's own name of its quantisation; empty if it has none, as in adapters."""
    try:
        name = str(gguf.LlamaFileType(int(file_type)).name)
    except (TypeError, ValueError, OverflowError):
        return ""
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")
