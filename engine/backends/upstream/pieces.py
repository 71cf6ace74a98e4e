"""Bounds how small the pieces of a response may be: each costs the same to process.

The pieces of a response that have arrived already are read without a turn of the event loop, so a
server that cuts its answer into single bytes, or sends comments as fast as it can, would keep all
other requests waiting. Imported by `engine.backends.upstream.server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from engine.backends.upstream import faults

ALLOWED: Final = 512
"""Pieces that may be of any size; a server with slow tokens sends a comment every few seconds."""
LEAST: Final = 256
"""Bytes that each further piece has to have on average; a packet has about 1400."""
FRAMING: Final = 128 * 1024
FRAMING_SHARE: Final = 8
"""Bytes that a body may take beside its content, and more for each byte of it: a chunk of one byte
has five. The first cover what is read ahead."""
_TURN: Final = 8
"""Pieces in a turn of the event loop, some 50 microseconds each."""


class Pieces:
    """Counts the pieces of one response since its last complete event."""

    def __init__(self, upstream: str, received: Callable[[], int]) -> None:
        """`received` is what the connection brought for them, with the framing."""
        self._upstream = upstream
        self._received = received
        self._taken = self._content = 0
        self._useless = self._bytes = 0

    async def take(self, piece: bytes) -> None:
        """Count one more; now and then the event loop gets a turn.

        Raises:
            failures.Broken: they are too small and too many, or little beside their framing.
        """
        self._taken += 1
        self._useless += 1
        self._bytes += len(piece)
        self._content += len(piece)
        if self._useless > ALLOWED + self._bytes // LEAST:
            what = f"{self._useless} pieces of its answer have {self._bytes} bytes and no event"
            raise faults.malformed(self._upstream, what)
        if (received := self._received()) > FRAMING + FRAMING_SHARE * self._content:
            what = f"{received} bytes of its answer have {self._content} bytes of content"
            raise faults.malformed(self._upstream, what)
        if self._taken % _TURN == 0:
            await asyncio.sleep(0)

    def useful(self) -> None:
        """An event is complete: start counting again."""
        self._useless = self._bytes = 0
