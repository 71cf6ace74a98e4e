"""An OpenAI-compatible server inside the test, which answers until a test makes it fail.

It outlives the node that the test kills.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_LENGTH: Final = re.compile(r"content-length: (\d+)", re.IGNORECASE)
_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
_END: Final = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
PIECES: Final = 20
ANSWER: Final = "from the candidate"


class Fickle:
    """One server. `failing` may be set at any time; `asked` counts completions, `bodies` has them.

    An answer comes in pieces, each of them the `word`. The completions after the first `promptly`
    wait until `go` is set.
    """

    def __init__(self, word: str) -> None:
        self.word = word
        self.failing = False
        self.asked = 0
        self.port = 0
        self.bodies: list[str] = []
        self.promptly: int | None = None
        self.go = asyncio.Event()
        self._more = asyncio.Condition()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            completion = head.startswith("POST")
            pieces = self._answer(completion=completion)
            if completion:
                async with self._more:
                    self.bodies.append(body.decode())
                    self._more.notify_all()
                if self.promptly is not None and self.asked > self.promptly:
                    await self.go.wait()
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def until(self, asked: int) -> None:
        """Wait until so many completions were asked for."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.bodies) >= asked)

    def _answer(self, *, completion: bool) -> list[bytes]:
        if not completion:
            return [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"]
        self.asked += 1
        if self.failing:
            body = b'{"error": {"message": "out of order"}}'
            head = "HTTP/1.1 500 X\r\ncontent-type: application/json\r\nconnection: close\r\n"
            return [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body]
        piece = {"choices": [{"index": 0, "delta": {"content": self.word}}]}
        events = [f"data: {json.dumps(each)}\n\n".encode() for each in [*[piece] * PIECES, _END]]
        return [_STREAM, *events, b"data: [DONE]\n\n"]


@asynccontextmanager
async def served(word: str = ANSWER) -> AsyncIterator[Fickle]:
    """A server on a free port."""
    fickle = Fickle(word)
    server = await asyncio.start_server(fickle.connected, "127.0.0.1", 0)
    fickle.port = server.sockets[0].getsockname()[1]
    async with server:
        yield fickle
