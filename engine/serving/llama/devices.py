"""The accelerators that ggml found on this machine, and the choice of some of them.

On a machine without one there is nothing to choose, and everything runs on the CPU. Imported by
`engine.serving.llama.model` and the worker's entry.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import llama_cpp

from engine.serving import errors
from engine.serving.llama import libllama

SPLITS: Final = {
    "none": llama_cpp.LLAMA_SPLIT_MODE_NONE,
    "layer": llama_cpp.LLAMA_SPLIT_MODE_LAYER,
    "row": llama_cpp.LLAMA_SPLIT_MODE_ROW,
}
"""How weights are spread over several devices; none: all on the first."""

_GPU_TYPES: Final = (1, 2)
"""GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU."""


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator: its number among those of the machine, and ggml's name, such as CUDA0."""

    index: int
    name: str
    handle: int


def present() -> tuple[Device, ...]:
    """The accelerators of this machine, in ggml's order (with CUDA: CUDA_VISIBLE_DEVICES')."""
    libllama.start()
    ggml = _ggml()
    found: list[Device] = []
    for place in range(ggml.ggml_backend_dev_count()):
        handle = ggml.ggml_backend_dev_get(place)
        if ggml.ggml_backend_dev_type(handle) in _GPU_TYPES:
            name = ggml.ggml_backend_dev_name(handle).decode("utf-8", "replace")
            found.append(Device(len(found), name, handle))
    return tuple(found)


def choose(wanted: Sequence[str], there: Sequence[Device]) -> tuple[Device, ...]:
    """The devices with these numbers or names, in the order given.

    Raises:
        DeviceMissing: one of them is not on this machine, or is given twice.
    """
    known = {str(device.index): device for device in there}
    known |= {device.name.lower(): device for device in there}
    chosen: list[Device] = []
    for name in (each.strip() for each in wanted):
        device = known.get(name.lower())
        if device is None:
            has = ", ".join(str(device.index) for device in there)
            have = f"this machine has {has}" if there else "this machine has none"
            raise errors.DeviceMissing(f"device {name or repr(name)} is not there; {have}")
        if device in chosen:
            raise errors.DeviceMissing(f"device {name} is given twice")
        chosen.append(device)
    return tuple(chosen)


def _ggml() -> Any:
    """The ggml that libllama itself is linked to, with the calls that the binding lacks."""
    folder = Path(llama_cpp.__file__).parent / "lib"
    ggml = ctypes.CDLL(str(next(folder.glob("libggml.*"))))
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    base = ctypes.CDLL(str(next(folder.glob("libggml-base.*"))))
    for call, result in (("name", ctypes.c_char_p), ("type", ctypes.c_int)):
        function = getattr(base, f"ggml_backend_dev_{call}")
        function.argtypes = [ctypes.c_void_p]
        function.restype = result
        setattr(ggml, f"ggml_backend_dev_{call}", function)
    return ggml
