"""Reports of a process to the node: JSON lines on what was its standard output.

libllama must not write between them, so the real descriptor is kept aside and number 1 becomes
standard error. A node that does not read loses lines, it never stalls the worker. Imported by the
worker's entry.
"""

from __future__ import annotations

import contextlib
import os
import sys

import msgspec


class Reports:
    """The line to the node."""

    def __init__(self, descriptor: int) -> None:
        """Write to `descriptor`."""
        self._descriptor = descriptor
        if not os.isatty(descriptor):
            os.set_blocking(descriptor, False)

    @classmethod
    def take_stdout(cls) -> Reports:
        """Keep standard output for the reports; prints go to standard error from now on."""
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        return cls(kept)

    def say(self, **fields: object) -> None:
        """One JSON object, one line."""
        with contextlib.suppress(OSError):
            os.write(self._descriptor, msgspec.json.encode(fields) + b"\n")
