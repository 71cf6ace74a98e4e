"""Rewrites the command line that /proc and `ps` show for this process.

A forked process has the command line of its parent, but the node and its tests find processes by
theirs. The kernel reads it from the memory of the process, in the range set
with PR_SET_MM_MAP, which needs no privileges. Imported by `tests.warm_starts`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_SET_MM: Final = 35
_SET_MM_MAP: Final = 14

_libc: Final = ctypes.CDLL(None)
_libc.sbrk.restype = ctypes.c_void_p

_IN_STAT: Final = {
    "start_code": 26, "end_code": 27, "start_stack": 28, "start_data": 45, "end_data": 46,
    "start_brk": 47, "arg_start": 48, "arg_end": 49, "env_start": 50, "env_end": 51,
}  # fmt: skip
"""The fields of /proc/self/stat, counted from one as in proc(5)."""


class _Map(ctypes.Structure):
    """`struct prctl_mm_map` of linux/prctl.h: where the kernel finds the parts of a process."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in (
            "start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack",
            "arg_start", "arg_end", "env_start", "env_end", "auxv",
        )),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    )  # fmt: skip


class CommandLine:
    """The memory that holds the command line of this process, and of what it forks."""

    def __init__(self) -> None:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        places = {name: int(fields[number - 3]) for name, number in _IN_STAT.items()}
        # auxv_size 0 and exe_fd -1 leave the auxiliary vector and the executable unchanged
        self._map = _Map(**places, auxv=0, auxv_size=0, exe_fd=2**32 - 1)
        self._bytes: Final = self._map.arg_end - self._map.arg_start
        words = [sys.executable, "-m", "tests.warm_starts"]
        self.write(words)
        exact = Path("/proc/self/cmdline").read_bytes() == encoded(words)
        self.room: Final = self._bytes if exact else 0
        """The longest command line in bytes; 0 where the kernel does not allow the change."""

    def write(self, words: Iterable[str]) -> None:
        """Show these words."""
        text = encoded(words)[: self._bytes]
        ctypes.memmove(self._map.arg_start, text.ljust(self._bytes, b"\0"), self._bytes)
        self._map.arg_end = self._map.arg_start + len(text)
        self._map.brk = _libc.sbrk(0)
        _libc.prctl(_SET_MM, _SET_MM_MAP, ctypes.byref(self._map), ctypes.sizeof(_Map), 0)


def encoded(words: Iterable[str]) -> bytes:
    """A command line as /proc shows it."""
    return b"".join(os.fsencode(word) + b"\0" for word in words)
