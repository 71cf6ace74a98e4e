"""Samples the stub's GPUs by the real pynvml and prints them, one JSON list a scene.

A process of its own, because a library that was loaded stays: `LD_LIBRARY_PATH` has the folder of
the stub. Scenes are the environments of the stub, as JSON on standard input, one a line; a scene's
name tells whether the sampler of the scene before goes on ("next") or a new one begins.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

import msgspec

from engine.metering import gpu
from engine.metering.gpu import Gpus
from storage.runtime import logs

_NAMES = ("STUB_LACKS", "STUB_LOST", "STUB_HANGS", "STUB_XID")
_libc = ctypes.CDLL(None)


def main() -> None:
    """Until standard input ends; each line is answered by one."""
    logs.configure()
    now = [0]
    gpus = _sampler(now)
    for line in sys.stdin:
        scene = json.loads(line)
        if not scene.pop("next", False):
            gpus.close()
            gpus = _sampler(now)
        now[0] += int(scene.pop("later_us", 1_000_000))
        for name in _NAMES:  # the stub unsets an Xid that it has told
            _libc.unsetenv(name.encode())
            os.environ.pop(name, None)
        os.environ.update(scene)
        found = gpus.sample() if gpus.due() else None
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        sys.stdout.flush()


def _sampler(now: list[int]) -> Gpus:
    return Gpus(monotonic_us=lambda: now[0], nvml=gpu.library)


if __name__ == "__main__":
    main()
