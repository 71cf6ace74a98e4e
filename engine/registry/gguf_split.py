"""The header of a split model, read from all its parts, which have to be parts of one model.

The first part has the metadata of the whole; each says which part it is, of how many, and how many
tensors they hold together. Reads no weights. Imported by `engine.jobs`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.registry import gguf_header
from engine.registry.gguf_header import Header
from engine.registry.gguf_walk import Broken
from storage.models import Kind

_KEYS = ("split.no", "split.count", "split.tensors.count")
_SHOWN = 64


def read(parts: Sequence[tuple[str, Path]]) -> Header:
    """The header of a model in these parts, each with the name that it has at its source.

    Raises:
        Broken: a part has none, or they are not the parts of one model; the message names the part.
        OSError: one cannot be read.
    """
    weights: Counter[str] = Counter()
    owner: dict[str, str] = {}
    first: dict[str, Any] = {}
    for number, (name, path) in enumerate(parts):
        try:
            scanned = gguf_header.scan(path, empty=True)
            _check(scanned.values, number, len(parts))
        except Broken as error:
            raise Broken(f"part {name}: {error}") from error
        first = first or dict(scanned.values)
        _check_same(name, scanned.values, first)
        for tensor in scanned.shapes:
            if (other := owner.setdefault(tensor, name)) != name:
                raise Broken(f"part {name} repeats the tensor {tensor[:_SHOWN]} of part {other}")
        weights.update(scanned.weights)
    announced = first["split.tensors.count"]
    if len(owner) != announced:
        raise Broken(
            f"its parts hold {len(owner)} tensors together, and its header announces {announced}"
        )
    header = gguf_header.header(first, weights)
    if header.kind is Kind.ADAPTER:
        raise Broken("it is a split adapter; an adapter is one file")
    return header


def _check(values: dict[str, Any], number: int, count: int) -> None:
    """Refuse a part whose header says that it is another one."""
    said = {key: gguf_header.whole(values, key) for key in _KEYS if key in values}
    if said.get("split.count", 1) <= 1:
        raise Broken("its header does not say that it is part of a split model; rename it")
    if said["split.count"] != count:
        raise Broken(f"its header says that there are {said['split.count']} parts, not {count}")
    if said.get("split.no") != number:
        no = said.get("split.no")
        told = "does not say which part it is" if no is None else f"says that it is part {no + 1}"
        raise Broken(f"its header {told}, and its name that it is part {number + 1}")
    if not said.get("split.tensors.count"):
        raise Broken("its header does not say how many tensors the model has")


def _check_same(name: str, values: dict[str, Any], first: dict[str, Any]) -> None:
    """Refuse a part of another model."""
    for key in ("split.tensors.count", "general.architecture"):
        if key in values and values[key] != first.get(key):
            raise Broken(
                f"part {name} is of another model: its {key} is {str(values[key])[:_SHOWN]}, "
                f"that of the first part is {str(first.get(key))[:_SHOWN]}"
            )
