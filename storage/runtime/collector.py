"""The garbage collector while a process imports its libraries: an eighth of the import's time.

What is imported stays, so it is not looked through again while the process runs; a full collection
would hold the event loop up for longer than a step of a small model takes. Standard library only.
Imported by the entry points that import much.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Import in this block; what exists at its end is never collected."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
