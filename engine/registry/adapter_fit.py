"""Whether a LoRA adapter fits weights, by the shapes of their tensors.

Reads no weights. Imported by `engine.jobs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from engine.registry import gguf_walk

_SHOWN: Final = 64


def shapes(paths: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """The dimensions of each tensor by its name, as GGUF has them: the input's first.

    `paths` are a file, or the parts of a split model.

    Raises:
        Broken: a header contradicts its file. OSError: it cannot be read.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in paths:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            walk = gguf_walk.Walk(file, size)
            walk.tensors(empty=True)
            found |= walk.shapes
    return found


def misfit(adapter: Mapping[str, tuple[int, ...]], base: Mapping[str, tuple[int, ...]]) -> str:
    """Why a LoRA is not for these weights, as a clause of the first tensor that differs; or empty.

    A LoRA of the tensor (in, out) is a pair of (in, rank) and (rank, out).
    """
    for name, dimensions in adapter.items():
        tensor, dot, half = name.rpartition(".lora_")
        if not dot or half not in {"a", "b"}:
            continue
        if (whole := base.get(tensor)) is None:
            return f"it changes {tensor[:_SHOWN]}, which is not there"
        at = 0 if half == "a" else 1
        wanted, has = dimensions[at : at + 1], whole[at : at + 1]
        if wanted != has:
            side = "inputs" if half == "a" else "outputs"
            return (
                f"it changes {tensor[:_SHOWN]} with {_one(wanted)} {side}, where there are "
                f"{_one(has)}"
            )
    return ""


def _one(dimension: tuple[int, ...]) -> str:
    return str(dimension[0]) if dimension else "no"
