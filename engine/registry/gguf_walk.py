"""Walks over the header of an untrusted GGUF file and checks every count in it.

A truncated, damaged or hostile file raises `Broken`; it never causes a crash, a hang or excessive
memory use. Reads no weights. Imported by `gguf_header`, `gguf_split` and
`adapter_fit`.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from typing import IO, Final

import gguf

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_KEYS: Final = 65_536
_TENSORS: Final = 1_048_576
_ITEMS: Final = 8_388_608
_TEXT: Final = 64 * 1024 * 1024
_DIMENSIONS: Final = 4
_STRING: Final = 8
_ARRAY: Final = 9
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class Broken(Exception):
    """The file is not a GGUF that can be served; the message says why."""


class Walk:
    """Walks over the whole header once and checks every count in it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._alignment = 32
        self.shapes: dict[str, tuple[int, ...]] = {}

    def tensors(self, *, empty: bool = False) -> Counter[str]:
        """The number of weights of each type, if header and file length agree.

        `empty`: a file without tensors is taken, as the first part of a split model may be one.
        """
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
        if not found and not empty:
            raise Broken("it has no tensors")
        start = math.ceil(self._file.tell() / self._alignment) * self._alignment
        needed = start + max((offset + length for _, _, offset, length in found), default=0)
        if needed > self._size:
            raise Broken(f"it is truncated: {self._size} bytes of the {needed} that it needs")
        weights: Counter[str] = Counter()
        for elements, kind, _, _ in found:
            weights[kind] += elements
        return weights

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
