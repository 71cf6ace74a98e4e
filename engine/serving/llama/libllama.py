"""libllama as a library of this process: its log, its version, and why its last call failed.

Imported by the other modules of the package.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import llama_cpp
import msgspec

from engine.serving import errors

_LOG_LEVELS: Final = {3: "warning", 4: "error"}
_MEMORY: Final = re.compile(r"alloc|out of memory|mmap failed", re.IGNORECASE)
_MEDIA: Final = re.compile(r"read error|failed to open|input/output error", re.IGNORECASE)


class _Messages(threading.local):
    """The latest warnings and errors of this thread's calls."""

    def __init__(self) -> None:
        self.latest: list[str] = []


_messages = _Messages()


def _on_log(level: int, text: bytes, _user: object) -> None:
    """Write warnings and errors to standard error, and keep the latest as a reason."""
    name = _LOG_LEVELS.get(level)
    if name is None:
        return
    event = text.decode("utf-8", "replace").strip()
    if not event:
        return
    _messages.latest.append(event)
    del _messages.latest[:-4]
    line = msgspec.json.encode({"level": name, "event": event, "part": "libllama"})
    sys.stderr.write(line.decode() + "\n")
    sys.stderr.flush()


_log_callback: Final = llama_cpp.llama_log_callback(_on_log)


def start() -> None:
    """Initialise the library; more than once does no harm."""
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


def forget() -> None:
    """Discard earlier messages of this thread, so that `reason` is about the next call."""
    _messages.latest.clear()


def reason(otherwise: str) -> str:
    """What libllama logged since `forget`, or `otherwise`."""
    return " / ".join(_messages.latest) or otherwise


def check_readable(what: str, path: Path) -> None:
    """Raise FileUnavailable unless the file can be opened."""
    try:
        if not path.is_file():
            raise errors.FileUnavailable(f"there is no {what} file at {path}")
        with path.open("rb"):
            return
    except OSError as error:
        why = error.strerror or str(error)
        raise errors.FileUnavailable(f"the {what} file at {path} cannot be read: {why}") from error


def load(paths: Sequence[Path], params: Any) -> Any:
    """A model from its file, or from the parts of a split one in order; None if it failed."""
    names = [os.fsencode(each) for each in paths]
    if len(names) == 1:
        return llama_cpp.llama_model_load_from_file(names[0], params)
    array = (ctypes.c_char_p * len(names))(*names)
    return llama_cpp.llama_model_load_from_splits(array, len(names), params)


def load_failure(path: Path, broken: type[errors.EngineFault]) -> errors.EngineFault:
    """The error for a file that was not loaded; only libllama's log tells the causes apart."""
    why = reason(f"libllama could not load {path}")
    if _MEMORY.search(why):
        return errors.OutOfMemory(why)
    return errors.FileUnavailable(why) if _MEDIA.search(why) else broken(why)


def build() -> str:
    """The versions of binding and llama.cpp, and the instruction sets in use."""
    system = llama_cpp.llama_print_system_info().decode("utf-8", "replace").strip(" |")
    version = llama_cpp.llama_version().decode("utf-8", "replace")
    return f"llama-cpp-python {llama_cpp.__version__}; llama.cpp {version}; {system}"
