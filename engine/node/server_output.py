"""Copies the output of a supervised server to its log, no faster than the node can rotate it.

A server that prints without end would fill the disk between two looks at its log; here the full
pipe makes it wait instead. Imported by `engine.node.server_process`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Final

RATE: Final = 1024 * 1024
"""Bytes a second, over a second; a busy server prints some kilobytes."""
_READ: Final = 64 * 1024
_END_S: Final = 5.0
"""How long to wait for the last output of a server whose children may still hold its pipe."""


class Output:
    """`pipe` is what the server writes to; `close` it once the server has it."""

    def __init__(
        self,
        to: int,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`to` is the descriptor of the log."""
        self._to = to
        self._monotonic_s = monotonic_s
        self._sleep = sleep
        self._reading, self.pipe = os.pipe()
        self._thread = threading.Thread(target=self._pass_on, daemon=True)

    def close(self) -> None:
        """The server has its end of the pipe, or could not be started: begin to read."""
        os.close(self.pipe)
        self._thread.start()

    def end(self) -> None:
        """The server has ended: wait for its last words."""
        self._thread.join(_END_S)

    def _pass_on(self) -> None:
        began, passed = self._monotonic_s(), 0
        with os.fdopen(self._reading, "rb", buffering=0) as printed:
            while data := printed.read(_READ):
                with contextlib.suppress(OSError):  # a full disk loses lines only
                    os.write(self._to, data)
                passed += len(data)
                now = self._monotonic_s()
                if passed >= RATE and now - began < 1:
                    self._sleep(1 - (now - began))
                if passed >= RATE or now - began >= 1:
                    began, passed = self._monotonic_s(), 0
