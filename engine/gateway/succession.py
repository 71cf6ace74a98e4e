"""One gateway at a time: one whose node died ends its streams before the next one begins.

A gateway whose node has died sends an error event to each open stream and exits. The next node's
gateway waits for that, and kills one that hangs. Never kills a process that is not a gateway.
Imported by `python -m engine.gateway`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import time
from pathlib import Path
from typing import Final

import structlog

from storage.home.paths import Home
from storage.runtime import parent

LAST_WORDS_S: Final = 3.0
"""How long a gateway without a node may take to end its streams."""
_PATIENCE_S: Final = LAST_WORDS_S + 1
_LOOK_S: Final = 0.02

_log = structlog.get_logger("gateway.succession")


def take(home: Home) -> int | None:
    """Wait until this is the only gateway of the home; returns the descriptor to keep open.

    None where the lock cannot be opened: the home is about to be refused, or the disk is full.
    """
    try:
        descriptor = os.open(
            home.gateway_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600
        )
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
    except OSError:
        return None
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                _end(descriptor)
                until = time.monotonic() + _PATIENCE_S
            time.sleep(_LOOK_S)
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, f"{os.getpid():<20}\n".encode(), 0)
    return descriptor


def orphaned() -> bool:
    """Whether the node that started this gateway is gone."""
    return parent.gone()


def last_words() -> None:
    """From now on the process ends in time, also if a client reads nothing or the disk hangs."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, LAST_WORDS_S)


def _end(descriptor: int) -> None:
    """Kill the holder of the lock, if it is a gateway that hangs."""
    written = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{int(written or 0)}/cmdline").read_bytes()
        if b"engine.gateway" in command.split(b"\0"):
            _log.warning("killing a gateway that hangs without its node", pid=written)
            os.kill(int(written), signal.SIGKILL)
