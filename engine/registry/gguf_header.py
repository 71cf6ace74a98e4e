"""Reads the header of an untrusted GGUF file.

Every count is checked against the size of the file before the library reads the values: a
truncated, damaged or hostile file raises `Broken`; it never causes a crash, a hang or excessive
memory use.
Reads no weights. Imported by `engine.jobs`.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import gguf

from engine.registry.chat_template import Source
from storage.models import Kind

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_KEYS: Final = 65_536
_TENSORS: Final = 1_048_576
_ITEMS: Final = 8_388_608
_TEXT: Final = 64 * 1024 * 1024
_DIMENSIONS: Final = 4
_WORD: Final = 64
_LINE: Final = 2000
_WHOLE: Final = 2**31 - 1
_STRING: Final = 8
_ARRAY: Final = 9
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
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


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


class Broken(Exception):
    """The file is not a GGUF that can be served; the message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF says of itself; `no_text` is why it cannot generate text, empty if it can.

    `kv_bytes_per_token` is None where the header does not say how keys and values are cached.
    """

    kind: Kind
    architecture: str
    parameters: int
    quantisation: str
    context_tokens: int
    licence: str | None
    no_text: str
    chat: Source
    kv_bytes_per_token: int | None


def read(path: Path) -> Header:
    """The header of the file.

    Raises:
        Broken: it has none, or one that contradicts the file. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        parameters, most = _Walk(file, size).tensors()
    try:
        values = _values(path)
    except Exception as error:
        raise Broken(f"its metadata cannot be read: {error}") from error
    return _header(values, parameters, most)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The dimensions of each tensor by its name, as GGUF has them: the input's first.

    Raises:
        Broken: the header contradicts the file. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        walk = _Walk(file, size)
        walk.tensors()
        return walk.shapes


def misfit(adapter: Mapping[str, tuple[int, ...]], base: Mapping[str, tuple[int, ...]]) -> str:
    """Why a LoRA is not for these weights, as a clause of the first tensor that differs; or empty.

    A LoRA of the tensor (in, out) is a pair of (in, rank) and (rank, out).
    """
    for name, dimensions in adapter.items():
        tensor, dot, half = name.rpartition(".lora_")
        if not dot or half not in {"a", "b"}:
            continue
        if (whole := base.get(tensor)) is None:
            return f"it changes {tensor[:_WORD]}, which is not there"
        at = 0 if half == "a" else 1
        wanted, has = dimensions[at : at + 1], whole[at : at + 1]
        if wanted != has:
            side = "inputs" if half == "a" else "outputs"
            return (
                f"it changes {tensor[:_WORD]} with {_one(wanted)} {side}, where there are "
                f"{_one(has)}"
            )
    return ""


def _one(dimension: tuple[int, ...]) -> str:
    return str(dimension[0]) if dimension else "no"


def _values(path: Path) -> dict[str, Any]:
    wanted = ("general.", "adapter.", "split.")
    endings = (
        *(".context_length", ".block_count", ".embedding_length"),
        *(".attention.causal", ".chat_template", "_token_id"),
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


def _header(values: dict[str, Any], parameters: int, most: str) -> Header:
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise Broken("it does not name its architecture")
    if len(architecture) > _WORD:
        raise Broken(f"it names an architecture of {len(architecture)} characters")
    if _whole(values, "split.count") > 1:
        raise Broken(
            "it is one piece of a split model; merge the pieces into one file first, "
            "with llama-gguf-split --merge"
        )
    adapter = values.get("general.type") == "adapter"
    if adapter and values.get("adapter.type") != "lora":
        raise Broken(
            f"it is an adapter of type {str(values.get('adapter.type'))[:_WORD]!r}, not lora"
        )
    context = _whole(values, f"{architecture}.context_length")
    if not adapter and context <= 0:
        raise Broken("it does not say its context length")
    licence = values.get("general.license")
    return Header(
        kind=Kind.ADAPTER if adapter else Kind.WEIGHTS,
        architecture=architecture,
        parameters=parameters,
        quantisation=_quantisation(values.get("general.file_type")) or most,
        context_tokens=context,
        licence=licence[:_LINE] if isinstance(licence, str) and licence else None,
        no_text=_no_text(architecture, values),
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


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(values: dict[str, Any], name: str) -> int:
    """A count in the file; 0 if it is absent."""
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


class _Walk:
    """Walks over the whole header once and checks every count in it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._alignment = 32
        self.shapes: dict[str, tuple[int, ...]] = {}

    def tensors(self) -> tuple[int, str]:
        """The number of weights and their most common type, if header and file length agree."""
        if self._take(4) != _MAGIC:
            raise Broken("it is not a GGUF file: it does not begin with the letters GGUF")
        version = self._number("<I")
        if version not in _VERSIONS:
            raise Broken(f"it is of GGUF version {version}; versions 2 and 3 can be read")
        tensors = self._count("<Q", _TENSORS, "tensors")
        keys = self._count("<Q", _KEYS, "keys")
        for _ in range(keys):
            name = self._text()
            value = self._value(self._number("<I"))
            if name == b"general.alignment" and isinstance(value, int):
                self._alignment = value
        if not 1 <= self._alignment <= _ITEMS:
            raise Broken(f"its data alignment is {self._alignment} bytes")
        found = [self._tensor() for _ in range(tensors)]
        if not found:
            raise Broken("it has no tensors")
        start = math.ceil(self._file.tell() / self._alignment) * self._alignment
        needed = start + max(offset + length for _, _, offset, length in found)
        if needed > self._size:
            raise Broken(f"it is truncated: {self._size} bytes of the {needed} that it needs")
        weights: Counter[str] = Counter()
        for elements, kind, _, _ in found:
            weights[kind] += elements
        return weights.total(), weights.most_common(1)[0][0]

    def _tensor(self) -> tuple[int, str, int, int]:
        name = self._text()
        dimensions = self._count("<I", _DIMENSIONS, "dimensions of a tensor")
        shape = tuple(self._number("<Q") for _ in range(dimensions))
        self.shapes[name.decode(errors="replace")] = shape
        elements = math.prod(shape)
        kind = self._number("<I")
        offset = self._number("<Q")
        try:
            known = gguf.GGMLQuantizationType(kind)
            block, length = gguf.GGML_QUANT_SIZES[known]
        except (KeyError, ValueError):
            raise Broken(f"tensor {_shown(name)} is of the unknown type {kind}") from None
        if elements <= 0 or elements > self._size * 256:  # no type packs 256 weights in a byte
            raise Broken(f"tensor {_shown(name)} claims {elements} elements")
        return elements, str(known.name), offset, math.ceil(elements / block) * length

    def _value(self, kind: int) -> int | None:
        if kind == _STRING:
            self._text()
        elif kind == _ARRAY:
            self._array()
        elif kind in _SIZES:
            raw = self._take(_SIZES[kind])
            return int.from_bytes(raw, "little")
        else:
            raise Broken(f"it has a value of the unknown type {kind}")
        return None

    def _array(self) -> None:
        kind = self._number("<I")
        items = self._count("<Q", _ITEMS, "items of an array")
        if kind == _STRING:
            for _ in range(items):
                self._text()
        elif kind in _SIZES:
            self._skip(items * _SIZES[kind])
        else:
            raise Broken(f"it has an array of type {kind}")

    def _text(self) -> bytes:
        length = self._count("<Q", _TEXT, "bytes of text")
        return self._take(length)

    def _count(self, form: str, limit: int, what: str) -> int:
        count = self._number(form)
        if count > min(limit, self._size):
            raise Broken(f"its header claims {count} {what}, more than the file can hold")
        return count

    def _number(self, form: str) -> int:
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return int(value)

    def _take(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) != length:
            raise Broken("it is truncated: it ends within its header")
        return data

    def _skip(self, length: int) -> None:
        if self._file.tell() + length > self._size:
            raise Broken("it is truncated: it ends within its header")
        self._file.seek(length, 1)


def _shown(name: bytes) -> str:
    return ascii(name[:64].decode(errors="replace"))
