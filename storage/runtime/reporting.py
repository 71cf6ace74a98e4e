"""Status lines of a process to its node: JSON lines on its original standard output.

Where a library may print, libllama above all, the original descriptor is kept and number 1 becomes
standard error. If the node does not read, lines are lost; the process never blocks. Imported by the
entry points.
"""

from __future__ import annotations

import contextlib
import os
import sys

import msgspec


class Reports:
    """Writes status lines to the node."""

    def __init__(self, descriptor: int) -> None:
        """Write to `descriptor`."""
        self._descriptor = descriptor
        if not os.isatty(descriptor):
            os.set_blocking(descriptor, False)

    @classmethod
    def take_stdout(cls) -> Reports:
        """Take over standard output; everything else that is printed goes to standard error."""
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        return cls(kept)

    def say(self, **fields: object) -> None:
        """Write one JSON object as a line; it is lost if the node does not read."""
        with contextlib.suppress(OSError):
            os.write(self._descriptor, msgspec.json.encode(fields) + b"\n")
